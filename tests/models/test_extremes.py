"""Every part over the whole range that parameters and data take, in both precisions, against mpmath.

Values agree within 1e-5 relative or 1e-4 nats in float32 and 1e-9 in float64, gradients within 1e-3 and 1e-6.
What the precision cannot hold is infinite, never NaN. A part without a row fails.
"""

import copy
import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import pytest
import torch
from pyro import distributions as dist
from torch.func import functional_call

import ppl_vae as pv
from ppl_vae import distributions, kl, precision
from ppl_vae.distributions import continuous_bernoulli
from ppl_vae.models.likelihoods import likelihoods
from ppl_vae.models.likelihoods.grey import MIN_LOG_SCALE
from ppl_vae.models.likelihoods.real import MIN_PIXEL_SCALE
from ppl_vae.models.posteriors import posteriors
from ppl_vae.models.priors import priors

VALUE = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-9, 1e-9)}
GRADIENT = {torch.float32: (1e-3, 1e-6), torch.float64: (1e-6, 1e-10)}
LOGITS = (-100.0, -30.0, -17.0, -3.0, -0.2, -1e-3, 0.0, 1e-6, 0.26, 5.0, 16.5, 100.0)
LOG_SCALES = (-19.0, -10.0, 0.0, 10.0, 19.0)
DISPERSIONS = (-18.4, -9.0, 0.0, 4.6, 11.5, 18.4)
Z = (0.25, -7.0)


@pytest.fixture(autouse=True)
def _many_digits():
    with mp.workdps(100):
        yield


@dataclass(frozen=True)
class Row:
    """A density of some numbers, the same by mpmath, and the numbers at which they are compared."""

    density: Callable[..., torch.Tensor]
    exact: Callable[..., mp.mpf]
    points: list[tuple[float, ...]]


def pixel(spec, x, *names):
    """log p(x) of a likelihood of one coordinate, as a function of its features and then of its own parameters."""

    def density(*parameters):
        part = likelihoods.likelihood(spec).to(parameters[0].dtype).eval()
        own = dict(zip(names, parameters[part.num_parameters :], strict=True))
        features = torch.stack(parameters[: part.num_parameters]).reshape(1, -1, 1)
        value = torch.tensor([[x]], dtype=features.dtype)
        return functional_call(part, own, (features, 1)).log_prob(value).squeeze()

    return density


def part_of(make, x, names):
    """log p(x) of a prior or posterior of two dimensions, as a function of the numbers in its named parameters."""

    def density(*numbers):
        part = make().to(numbers[0].dtype)
        own, left, shapes = {}, list(numbers), dict(part.named_parameters())
        for name in names:
            size = shapes[name].numel()
            own[name], left = torch.stack(left[:size]).reshape(shapes[name].shape), left[size:]
        features = (numbers[0].new_zeros(1, 1),) if "head" in names[0] else ()
        return functional_call(part, own, features).log_prob(numbers[0].new_tensor(x)).squeeze()

    return density


def built(part, *sizes):
    part.build(*sizes)
    return part


def normal(x, loc, log_scale):
    return -(((x - loc) / mp.exp(log_scale)) ** 2) / 2 - log_scale - mp.log(2 * mp.pi) / 2


def softplus(h):
    return mp.log1p(mp.exp(h))


def log_sigmoid(u):
    return -softplus(-u)


def single(x):
    """A number of the data as float32 holds it; the same number in both precisions."""
    return torch.tensor(x, dtype=torch.float32).item()


def bernoulli(x):
    return lambda logit: x * logit - softplus(logit)


def continuous_bernoulli_log_normaliser(logit):
    return mp.log(mp.expm1(logit) / logit) if abs(logit) > mp.mpf(10) ** -25 else logit / 2


def student(x, df, loc, log_scale):
    y = (x - loc) / mp.exp(log_scale)
    constant = mp.loggamma((df + 1) / mp.mpf(2)) - mp.loggamma(df / mp.mpf(2)) - mp.log(df * mp.pi) / 2
    return constant - log_scale - (df + 1) * mp.log1p(y**2 / df) / 2


def negative_binomial(x):
    def exact(log_mean, log_r):
        r, mean = mp.exp(log_r), mp.exp(log_mean)
        ways = mp.loggamma(x + r) - mp.loggamma(r) - mp.loggamma(x + 1)
        return ways - r * mp.log1p(mean / r) + x * (log_mean - log_r - mp.log1p(mean / r))

    return exact


def discretised_logistic(x, levels):
    h = mp.mpf(1) / (2 * (levels - 1))

    def exact(loc, log_scale):
        s = mp.exp(max(log_scale, mp.mpf(MIN_LOG_SCALE)))
        below, above = (x + h - loc) / s, (x - h - loc) / s
        if x < h:
            return log_sigmoid(below)
        inside = log_sigmoid(below) + log_sigmoid(-above) + mp.log(-mp.expm1(-2 * h / s))
        return log_sigmoid(-above) if x > 1 - h else inside

    return exact


def log_sum(values):
    return mp.log(sum(mp.exp(v) for v in values))


def gaussians(loc1, loc2, log_scale1, log_scale2):
    return normal(mp.mpf(Z[0]), loc1, log_scale1) + normal(mp.mpf(Z[1]), loc2, log_scale2)


def mixture(logit1, logit2, *rest):
    locs, scales = rest[:4], rest[4:]
    weight = log_sum([logit1, logit2])
    parts = [gaussians(*locs[2 * c : 2 * c + 2], *scales[2 * c : 2 * c + 2]) for c in (0, 1)]
    return log_sum([logit1 - weight + parts[0], logit2 - weight + parts[1]])


def full_covariance(loc1, loc2, a, b, c):
    first, second = (mp.log(softplus(h)) for h in (a, c))
    y = (mp.mpf(Z[0]) - loc1) / mp.exp(first)
    return normal(mp.mpf(Z[0]), loc1, first) + normal(mp.mpf(Z[1]) - b * y, loc2, second)


def low_rank(loc1, loc2, h1, h2, f1, f2):
    s11, s22, s12 = f1**2 + softplus(h1), f2**2 + softplus(h2), f1 * f2
    d1, d2, det = mp.mpf(Z[0]) - loc1, mp.mpf(Z[1]) - loc2, s11 * s22 - s12**2
    return -(s22 * d1**2 - 2 * s12 * d1 * d2 + s11 * d2**2) / det / 2 - mp.log(det) / 2 - mp.log(2 * mp.pi)


def crossed(*values):
    return list(itertools.product(*values))


def censored(x, low, high):
    def exact(loc, log_scale):
        s = mp.exp(log_scale)
        if x <= low:
            return log_normal_tail((low - loc) / s)
        return log_normal_tail((loc - high) / s) if x >= high else normal(mp.mpf(x), loc, log_scale)

    return exact


def log_normal_tail(u):
    """log Phi(u), far below by the continued fraction of Mills' ratio, for which erfc has too few digits."""
    if u > -50:
        return mp.log(mp.erfc(-u / mp.sqrt(2)) / 2)
    ratio = mp.mpf(0)
    for k in range(200, 0, -1):
        ratio = k / (-u + ratio)
    return -(u**2) / 2 - mp.log(2 * mp.pi) / 2 - mp.log(-u + ratio)


def beta(x):
    def exact(logit, log_c):
        m, n, c = 1 / (1 + mp.exp(-logit)), 1 / (1 + mp.exp(logit)), mp.exp(log_c)
        ways = mp.loggamma(c) - mp.loggamma(c * m) - mp.loggamma(c * n)
        return ways + (c * m - 1) * mp.log(x) + (c * n - 1) * mp.log(1 - x)

    return exact


def zero_inflated(x, base):
    def exact(log_mean, gate):
        counted = log_sigmoid(-gate) + base(log_mean)
        return log_sum([log_sigmoid(gate), counted]) if x == 0 else counted

    return exact


def cumulative_logit(k):
    def exact(eta, first, *log_gaps):
        further = [first + sum(map(mp.exp, log_gaps[: i + 1])) for i in range(len(log_gaps))]
        cuts = [-mp.inf, first, *further, mp.inf]
        u, lower = cuts[k + 1] - eta, cuts[k] - eta
        if lower == -mp.inf:
            return log_sigmoid(u)
        inside = log_sigmoid(-lower)
        return inside if u == mp.inf else log_sigmoid(u) + inside + mp.log(-mp.expm1(lower - u))

    return exact


def ordered(k):
    def density(eta, first, *log_gaps):
        part = likelihoods.likelihood(pv.models.ordinal(4)).to(eta.dtype)
        own = {"first_cut": first, "log_gaps": torch.stack(log_gaps)}
        p = functional_call(part, own, (eta.reshape(1, 1, 1), 1))
        return p.log_prob(eta.new_full((1, 1), k)).squeeze()

    return density


GAPS = ((-30.0, 0.5), (0.0, -16.0), (4.0, 2.0))
# A table's row: two reals far from 0 with a scale of their own, a positive one, and one that is missing.
TABLE_LOC, TABLE_SCALE = (1e6, -3.0, 2.0, 0.0), (8.0, 0.001, 0.5, 1.0)
TABLE_ROW = (1e6 + 3, single(-3.002), single(5.7), float("nan"))


def mixed_row(loc, log_sigma):
    kinds = {"a": "gaussian", "b": "gaussian", "c": "log-normal", "d": "poisson"}
    part = pv.models.Columns(kinds).to(loc.dtype)
    part.scales.loc.copy_(torch.tensor(TABLE_LOC))
    part.scales.scale.copy_(torch.tensor(TABLE_SCALE))
    own = {"parts.0.log_sigma": log_sigma.expand(2), "parts.1.gaussian.log_sigma": log_sigma.expand(1)}
    features = loc.expand(1, 1, 4)
    return functional_call(part, own, (features, 1)).log_prob(torch.tensor([TABLE_ROW], dtype=loc.dtype)).squeeze()


def mixed_row_exactly(loc, log_sigma):
    total = mp.mpf(0)
    for d in range(3):
        x, m, s = (mp.mpf(single(each[d])) for each in (TABLE_ROW, TABLE_LOC, TABLE_SCALE))
        v = mp.log(x) if d == 2 else x
        total += normal((v - m) / s, loc, log_sigma) - mp.log(s) - (v if d == 2 else 0)
    return total


LIKELIHOOD_ROWS = {
    "bernoulli": [Row(pixel("bernoulli", x), bernoulli(x), crossed(LOGITS)) for x in (0.0, 1.0)],
    "bernoulli-relaxed": [
        Row(pixel("bernoulli-relaxed", single(x)), bernoulli(mp.mpf(single(x))), crossed(LOGITS))
        for x in (0.0, 0.3, 1.0)
    ],
    "continuous-bernoulli": [
        Row(
            pixel("continuous-bernoulli", single(x)),
            lambda logit, x=x: single(x) * logit - continuous_bernoulli_log_normaliser(logit),
            crossed(LOGITS),
        )
        for x in (0.0, 0.01, 0.3, 1.0)
    ],
    "gaussian": [
        *(
            Row(
                pixel({"name": "gaussian", "sigma": "learned"}, x, "log_sigma"),
                lambda loc, s, x=x: normal(x, loc, s),
                crossed((-100.0, 0.0, 0.5), LOG_SCALES),
            )
            for x in (0.5, -20.0)
        ),
        Row(
            pixel({"name": "gaussian", "sigma": "per-pixel"}, 0.5),
            lambda loc, h: normal(0.5, loc, mp.log(mp.mpf(MIN_PIXEL_SCALE) + softplus(h))),
            crossed((-100.0, 0.25), LOGITS),
        ),
        Row(
            pixel({"name": "gaussian", "sigma": 1e-8}, 0.5),
            lambda loc: normal(0.5, loc, mp.log(mp.mpf(1e-8))),
            crossed((0.5, 0.50000006)),
        ),
        Row(
            pixel({"name": "gaussian", "sigma": "optimal", "initial_sigma": 0.25}, 0.5),
            lambda loc: normal(0.5, loc, mp.log(mp.mpf(0.25))),
            crossed((0.5, 3.0, -100.0)),
        ),
    ],
    "student-t": [
        *(
            Row(
                pixel({"name": "student-t", "df": df}, 0.5, "gaussian.log_sigma"),
                lambda loc, s, df=df: student(0.5, df, loc, s),
                crossed((-100.0, 0.25, 1e6), LOG_SCALES),
            )
            for df in (1.5, 5.0, 1e4, 1e8)
        ),
        Row(
            pixel({"name": "student-t", "sigma": "per-pixel"}, 0.5),
            lambda loc, h: student(0.5, 5, loc, mp.log(mp.mpf(MIN_PIXEL_SCALE) + softplus(h))),
            crossed((-100.0, 0.25), LOGITS),
        ),
    ],
    "poisson": [
        Row(
            pixel("poisson", x),
            lambda r, x=x: x * r - mp.exp(r) - mp.loggamma(x + 1),
            crossed((*LOGITS, 13.8, 13.82)),
        )
        for x in (0.0, 1.0, 100.0, 1e6)
    ],
    "negative-binomial": [
        Row(
            pixel("negative-binomial", x, "log_dispersion"),
            negative_binomial(x),
            crossed((-100.0, -3.0, 0.0, 5.0, 13.8, 100.0), DISPERSIONS),
        )
        for x in (0.0, 1.0, 100.0, 1e6)
    ],
    "categorical": [
        Row(
            pixel({"name": "categorical", "levels": 3}, 0.5),
            lambda a, b, c: b - log_sum([a, b, c]),
            crossed((-100.0, 0.0, 100.0), (-100.0, 1e-3, 100.0), (-100.0, 0.5, 100.0)),
        )
    ],
    "discretised-logistic": [
        Row(
            pixel("discretised-logistic", single(k / 255)),
            discretised_logistic(mp.mpf(single(k / 255)), 256),
            crossed((-100.0, 0.0, 0.4, 100.0), (-7.6, -5.0, 0.0, 20.0, 100.0)),
        )
        for k in (0, 1, 128, 255)
    ],
    "log-normal": [
        *(
            Row(
                pixel("log-normal", single(x), "gaussian.log_sigma"),
                lambda loc, s, x=x: normal(mp.log(single(x)), loc, s) - mp.log(single(x)),
                crossed((-100.0, 0.0, 0.5, 30.0), LOG_SCALES),
            )
            for x in (1e-30, 0.7, 1.0, 3e30)
        ),
        Row(
            pixel({"name": "log-normal", "sigma": "per-pixel"}, single(0.3)),
            lambda loc, h: (
                normal(mp.log(single(0.3)), loc, mp.log(mp.mpf(MIN_PIXEL_SCALE) + softplus(h)))
                - mp.log(single(0.3))
            ),
            crossed((-100.0, 0.25), LOGITS),
        ),
    ],
    "censored-gaussian": [
        Row(
            pixel({"name": "censored-gaussian", "low": 0.0, "high": 2.0}, x, "gaussian.log_sigma"),
            censored(x, 0.0, 2.0),
            crossed((-1e6, -100.0, 0.0, 0.5, 2.0, 100.0, 1e6), LOG_SCALES),
        )
        for x in (0.0, 0.5, 2.0)
    ],
    "beta": [
        Row(
            pixel("beta", single(x), "log_concentration"),
            beta(mp.mpf(single(x))),
            crossed(LOGITS, (-19.0, -9.0, 0.0, 1.7, 1.8, 4.6, 11.5, 19.0)),
        )
        for x in (1e-30, 0.01, 0.3, 0.5, 0.9999999)
    ],
    "zero-inflated-poisson": [
        Row(
            pixel("zero-inflated-poisson", x),
            zero_inflated(x, lambda r, x=x: x * r - mp.exp(r) - mp.loggamma(x + 1)),
            crossed((-100.0, -3.0, 0.0, 5.0, 13.8, 100.0), LOGITS),
        )
        for x in (0.0, 1.0, 1e6)
    ],
    "zero-inflated-negative-binomial": [
        Row(
            pixel("zero-inflated-negative-binomial", x, "counts.log_dispersion"),
            lambda m, g, r, x=x: zero_inflated(x, lambda m: negative_binomial(x)(m, r))(m, g),
            crossed((-100.0, 0.0, 13.8, 100.0), (-100.0, -3.0, 0.0, 16.5, 100.0), DISPERSIONS),
        )
        for x in (0.0, 1.0, 1e6)
    ],
    "ordinal": [
        Row(
            ordered(k),
            cumulative_logit(k),
            [(eta, c, g, h) for eta, c, (g, h) in crossed(LOGITS, (-100.0, 0.3), GAPS)],
        )
        for k in range(4)
    ],
    "nominal": [
        Row(
            pixel({"name": "nominal", "levels": 3}, 1.0),
            lambda a, b, c: b - log_sum([a, b, c]),
            crossed((-100.0, 0.0, 100.0), (-100.0, 1e-3, 100.0), (-100.0, 0.5, 100.0)),
        )
    ],
    "columns": [Row(mixed_row, mixed_row_exactly, crossed((-100.0, 0.25, 30.0), LOG_SCALES))],
    "missing-pixels": [
        Row(pixel({"name": "missing-pixels", "of": "log-normal"}, float("nan")), lambda _: 0, [(50.0,)]),
        Row(pixel({"name": "missing-pixels", "of": "continuous-bernoulli"}, float("nan")), lambda _: 0, [(50.0,)]),
        Row(
            pixel({"name": "missing-pixels", "of": "poisson"}, 1e6),
            lambda r: mp.mpf(10) ** 6 * r - mp.exp(r) - mp.loggamma(mp.mpf(10) ** 6 + 1),
            crossed((-100.0, 13.8, 30.0)),
        ),
    ],
}


def point_posterior():
    return built(posteriors.PointPosterior(), 1, 2)


TWO = ((-90.0, 0.29), (3.0,))


def of_scale(name, heights, to_log_scale):
    def make():
        return built(posteriors.DiagonalPosterior(name), 1, 2)

    def exact(loc1, loc2, a, b):
        return gaussians(loc1, loc2, to_log_scale(a), to_log_scale(b))

    points = [(*loc, h, other) for loc in crossed(*TWO) for h in heights for other in (0.0, 15.0)]
    return Row(part_of(make, Z, HEADS), exact, points)


ON_CIRCLE, IN_BALL = (0.0, 1.0), (0.25, -0.75)


def curved(kind, x, exact):
    return Row(
        part_of(lambda: built(kind(), 1, 2), x, HEADS),
        exact,
        crossed((-90.0, 0.29), (3.0,), (-19.0, -4.0, 1.0, 100.0)),
    )


def squared_distance(a, b):
    """The squared distance of the direction of (a, b) from the point."""
    norm = mp.sqrt(a * a + b * b)
    return (a / norm - ON_CIRCLE[0]) ** 2 + (b / norm - ON_CIRCLE[1]) ** 2


def von_mises_fisher(a, b, h):
    k = softplus(h)
    return k - k * squared_distance(a, b) / 2 - mp.log(2 * mp.pi * mp.besseli(0, k))


def power_spherical(a, b, h):
    k, half = softplus(h), mp.mpf(1) / 2
    normaliser = mp.log(2) + mp.log(mp.pi) / 2 + mp.loggamma(half + k) - mp.loggamma(1 + k)
    return k * mp.log(1 - squared_distance(a, b) / 4) - normaliser


def two_angles(c1, c2, s1, s2, h1, h2):
    terms = zip(Z, ((c1, s1), (c2, s2)), (softplus(h1), softplus(h2)), strict=True)
    return sum(k * mp.cos(z - mp.atan2(s, c)) - mp.log(2 * mp.pi * mp.besseli(0, k)) for z, (c, s), k in terms)


def wrapped_normal(x, scales, z):
    """The density on the ball of two dimensions, by the Mobius difference."""
    xx, zz, xz = (sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((x, x), (z, z), (x, z)))
    w = [(-(1 - 2 * xz + zz) * a + (1 - xx) * b) / (1 - 2 * xz + xx * zz) for a, b in zip(x, z, strict=True)]
    norm = mp.sqrt(sum(a * a for a in w))
    r = 2 * mp.atanh(norm)
    gaussian = sum(normal(r * a / norm, 0, mp.log(s)) for a, s in zip(w, scales, strict=True))
    return gaussian + mp.log(r / mp.sinh(r)) + 2 * mp.log(2 / (1 - zz))


def wrapped_normal_posterior(a, b, h1, h2):
    length = mp.sqrt(a * a + b * b)
    reached = mp.tanh(5 * mp.tanh(length / 5) / 2) / length
    scales = [min(softplus(h), mp.mpf(3) / 2) for h in (h1, h2)]
    return wrapped_normal([a * reached, b * reached], scales, [mp.mpf(v) for v in IN_BALL])


HEADS = ("loc_head.bias", "scale_head.bias")
PRIOR_ROWS = {
    "uniform-sphere": [
        Row(
            lambda a: built(priors.SphericalPrior(), 2)().log_prob(torch.stack([a, (1 - a * a).sqrt()])) + 0 * a,
            lambda a: -mp.log(2 * mp.pi),
            crossed((-0.6, 0.0, 0.8)),
        )
    ],
    "uniform-torus": [
        Row(
            lambda a, b: built(priors.TorusPrior(), 2).to(a.dtype)().log_prob(torch.stack([a, b])),
            lambda a, b: -2 * mp.log(2 * mp.pi) + 0 * a,
            crossed((-3.1, 1e-3, 3.0), (0.0,)),
        )
    ],
    "wrapped-normal": [
        Row(
            lambda a, b: built(priors.WrappedNormalPrior(), 2).to(a.dtype)().log_prob(torch.stack([a, b])),
            lambda a, b: wrapped_normal([mp.mpf(0)] * 2, [mp.mpf(1)] * 2, [a, b]),
            crossed((-0.99, 1e-3, 0.5), (0.0625,)),
        )
    ],
    "standard": [
        Row(
            lambda a, b: built(priors.StandardNormalPrior(), 2).to(a.dtype)().log_prob(torch.stack([a, b])),
            lambda a, b: normal(a, 0, 0) + normal(b, 0, 0),
            crossed((-1e4, 1e-3, 100.0), (0.0, 1e6)),
        )
    ],
    "diagonal": [
        Row(
            part_of(lambda: built(priors.DiagonalNormalPrior(), 2), Z, ("loc", "log_scale")),
            gaussians,
            crossed((-100.0, 0.2), (5.0,), LOG_SCALES, (0.0, 3.0)),
        )
    ],
    "mixture": [
        Row(
            part_of(lambda: built(priors.MixturePrior(2), 2), Z, ("logits", "loc", "log_scale")),
            mixture,
            [
                (a, b, 0.25, -6.0, -3.0, 40.0, s, 0.0, t, 1.0)
                for a, b, s, t in crossed((-100.0, 0.0), (0.0, 100.0), (-15.0, 0.5), (-1.0, 19.0))
            ],
        )
    ],
    "flat": [
        Row(
            lambda a: built(priors.FlatPrior(), 1)().log_prob(a.reshape(1)) + 0 * a,
            lambda a: mp.mpf(0),
            crossed((-1e30, 0.0, 1e30)),
        )
    ],
}

POSTERIOR_ROWS = {
    "diagonal": [
        of_scale("log-variance", (-39.0, -8.0, 1.0, 39.0), lambda h: h / 2),
        of_scale("log-scale", (-19.0, -4.0, 1.0, 19.0), lambda h: h),
        of_scale("softplus", (-19.0, -4.0, 1.0, 100.0), lambda h: mp.log(softplus(h))),
        of_scale("softplus-variance", (-39.0, -4.0, 1.0, 100.0), lambda h: mp.log(softplus(h)) / 2),
    ],
    "full-covariance": [
        Row(
            part_of(lambda: built(posteriors.FullCovariancePosterior(), 1, 2), Z, HEADS),
            full_covariance,
            crossed((-90.0, 0.29), (3.0,), (-15.0, -3.0, 30.0), (-10.0, 0.5), (-15.0, 5.0)),
        )
    ],
    "low-rank": [
        Row(
            part_of(lambda: built(posteriors.LowRankPosterior(1), 1, 2), Z, (*HEADS, "factor_head.bias")),
            low_rank,
            crossed((-90.0, 0.29), (3.0,), (-5.0, -3.0, 30.0), (-8.0, 5.0), (-10.0, 1e-3), (0.5, 10.0)),
        )
    ],
    "mixture": [
        Row(
            part_of(lambda: built(posteriors.MixturePosterior(2), 1, 2), Z, ("weight_head.bias", *HEADS)),
            lambda a, b, *rest: mixture(a, b, *rest[:4], *(h / 2 for h in rest[4:])),
            [
                (a, b, 0.25, -6.0, -3.0, 40.0, s, 0.0, t, 1.0)
                for a, b, s, t in crossed((-100.0, 0.0), (0.0, 100.0), (-30.0, 0.5), (-1.0, 38.0))
            ],
        )
    ],
    "semi-amortised": [
        Row(
            part_of(lambda: built(posteriors.SemiAmortisedPosterior(), 1, 2), Z, HEADS),
            gaussians,
            crossed((-90.0, 0.29), (3.0,), (-19.0, -3.0, 19.0), (0.0,)),
        )
    ],
    "point": [
        Row(
            lambda a, b: part_of(point_posterior, (100.0, -0.5), ("loc_head.bias",))(a, b) + 0 * a,
            lambda a, b: mp.mpf(0),
            [(100.0, -0.5)],
        )
    ],
    "von-mises-fisher": [curved(posteriors.VonMisesFisherPosterior, ON_CIRCLE, von_mises_fisher)],
    "power-spherical": [curved(posteriors.PowerSphericalPosterior, ON_CIRCLE, power_spherical)],
    "von-mises": [
        Row(
            part_of(lambda: built(posteriors.VonMisesPosterior(), 1, 2), Z, HEADS),
            two_angles,
            crossed((-90.0, 0.29), (3.0,), (1.0,), (-0.5,), (-19.0, 100.0), (1.0,)),
        )
    ],
    "wrapped-normal": [
        Row(
            part_of(lambda: built(posteriors.WrappedNormalPosterior(), 1, 2), IN_BALL, HEADS),
            wrapped_normal_posterior,
            crossed((-90.0, 0.29), (3.0,), (-4.0, 1.0, 100.0), (0.5,)),
        )
    ],
}
# Their densities are compared with the determinant of their own map's derivative, below.
BY_DETERMINANT = {"flow"}
# Weights of an extended space, judged by tests/models/posteriors/test_chain_posteriors.py.
OF_A_CHAIN = {"dais", "hamiltonian"}
OF_THE_GUIDE = {"vamp"}
# Judged by quadrature and closed forms in tests/models/code_priors/test_learned_priors.py.
OF_NETWORKS = {"autoregressive", "noise-contrastive", "diffusion"}

# Where a distribution of ours has its row.
DISTRIBUTIONS = {
    "Flat": "flat",
    "GreyCategorical": "categorical",
    "DiscretisedLogistic": "discretised-logistic",
    "CompletedCoordinates": "completed",
    "ObservedCoordinates": "missing-pixels",
    "ContinuousBernoulli": "continuous-bernoulli",
    "PoissonCounts": "poisson",
    "NegativeBinomialCounts": "negative-binomial",
    "MultinomialCounts": "multinomial",
    "StudentT": "student-t",
    "LogNormal": "log-normal",
    "CensoredNormal": "censored-gaussian",
    "Beta": "beta",
    "ZeroInflatedCounts": "zero-inflated-poisson",
    "Levels": "ordinal",
    "MixedBlocks": "columns",
    "SphericalUniform": "prior-uniform-sphere",
    "VonMises": "posterior-von-mises",
    "VonMisesFisher": "posterior-von-mises-fisher",
    "PowerSpherical": "posterior-power-spherical",
    "WrappedNormal": "posterior-wrapped-normal",
}


def completed(hidden_logit, seen_logit):
    full = continuous_bernoulli.ContinuousBernoulli(torch.stack([hidden_logit, seen_logit])).to_event(1)
    given = torch.tensor([0.25, 0.5], dtype=hidden_logit.dtype)
    return distributions.CompletedCoordinates(full, given, torch.tensor([True, False])).log_prob(given)


def two_gaussians(loc, log_scale, other_log_scale):
    q, p = dist.Normal(loc, log_scale.exp()), dist.Normal(torch.zeros_like(loc), other_log_scale.exp())
    return kl.kl_divergence(q, p)


def gaussian_kl(loc, s, t):
    return (mp.exp(2 * (s - t)) + (loc / mp.exp(t)) ** 2 - 1) / 2 - (s - t)


def two_continuous_bernoullis(a, b):
    kind = continuous_bernoulli.ContinuousBernoulli
    return torch.distributions.kl_divergence(kind(a), kind(b))


def continuous_bernoulli_kl(a, b):
    normaliser = continuous_bernoulli_log_normaliser
    mean = mp.exp(a) / mp.expm1(a) - 1 / a if abs(a) > mp.mpf(10) ** -20 else mp.mpf(1) / 2
    return normaliser(b) - normaliser(a) - (b - a) * mean


def three_counts(*logits):
    logits = torch.stack(logits)
    return distributions.MultinomialCounts(torch.tensor(1_000_003), logits).log_prob(COUNTS_OF_THREE.to(logits))


def multinomial(*logits):
    counts = [mp.mpf(count) for count in COUNTS_OF_THREE.tolist()]
    together = mp.log(sum(mp.exp(each) for each in logits))
    ways = mp.loggamma(sum(counts) + 1) - sum(mp.loggamma(count + 1) for count in counts)
    return ways + sum(count * (each - together) for count, each in zip(counts, logits, strict=True))


COUNTS_OF_THREE = torch.tensor([3.0, 0.0, 1_000_000.0])


OTHER_ROWS = {
    "multinomial": [Row(three_counts, multinomial, crossed((-100.0, 0.0, 100.0), (-5.0, 100.0), (0.0, 30.0)))],
    "completed": [
        Row(
            completed,
            lambda a, _: a / 4 - continuous_bernoulli_log_normaliser(a),
            crossed(LOGITS, (100.0,)),
        )
    ],
    "kl-gaussian": [Row(two_gaussians, gaussian_kl, crossed((0.0, 5.0), (-19.0, -3.0, 9.0), (-3.0, 0.0, 19.0)))],
    "kl-continuous-bernoulli": [
        Row(two_continuous_bernoullis, continuous_bernoulli_kl, crossed((-100.0, 1.0, 20.0), (-60.0, 0.1, 99.0)))
    ],
}

ROWS = {**LIKELIHOOD_ROWS, **{f"prior-{k}": v for k, v in PRIOR_ROWS.items()}}
ROWS |= {**{f"posterior-{k}": v for k, v in POSTERIOR_ROWS.items()}, **OTHER_ROWS}


def test_every_part_has_a_row():
    assert set(likelihoods.LIKELIHOODS) == set(LIKELIHOOD_ROWS)
    assert set(priors.PRIORS) == set(PRIOR_ROWS) | BY_DETERMINANT | OF_THE_GUIDE | OF_NETWORKS
    assert set(posteriors.POSTERIORS) == set(POSTERIOR_ROWS) | BY_DETERMINANT | OF_A_CHAIN
    own = {
        name
        for name, kind in vars(distributions).items()
        if inspect.isclass(kind) and issubclass(kind, torch.distributions.Distribution)
    }
    assert own == set(DISTRIBUTIONS)
    assert set(DISTRIBUTIONS.values()) <= set(ROWS) | {"flat"}


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 20.0), (torch.float64, 40.0)], ids=str)
def test_standard_deviations_stay_where_their_squares_are_numbers(dtype, most):
    """Outside, the density is that of the nearest one, and no gradient leads further away."""
    for h, expected in ((-100.0, -most), (100.0, most)):
        number = torch.tensor(h, dtype=dtype, requires_grad=True)
        log_scale = precision.scale(number).log()
        assert log_scale.item() == pytest.approx(expected, rel=1e-6)
        assert torch.autograd.grad(log_scale, number)[0] == 0
    for positive, power in ((precision.positive_scale, 1), (precision.positive_variance, 2)):
        assert positive(torch.tensor(-200.0, dtype=dtype)).log().item() == pytest.approx(-power * most, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_values_and_gradients_are_exact_over_the_whole_range(name, dtype):
    for row in ROWS[name]:
        for point in row.points:
            numbers = [torch.tensor(p, dtype=dtype, requires_grad=True) for p in point]
            value = row.density(*numbers)
            exact = [mp.mpf(p.item()) for p in numbers]
            where = f"{name} at {point}"
            assert_close(value.item(), row.exact(*exact), *VALUE[dtype], dtype, where)
            if not torch.isfinite(value):
                continue
            found = torch.autograd.grad(value, numbers, allow_unused=True)
            for index, gradient in enumerate(found):
                slope = derivative(row.exact, exact, index)
                actual = 0.0 if gradient is None else gradient.item()
                assert_close(actual, slope, *GRADIENT[dtype], dtype, f"{where}, derivative {index}")


def derivative(function, point, index):
    """A central difference whose step is far above 100 digits' rounding and far below any curvature."""
    step = mp.mpf(10) ** -40
    up, down = (function(*(p + sign * step if i == index else p for i, p in enumerate(point))) for sign in (1, -1))
    return (up - down) / (2 * step)


def assert_close(found, exact, relative, absolute, dtype, where):
    if abs(exact) > torch.finfo(dtype).max:
        assert found == (mp.inf if exact > 0 else -mp.inf), where
        return
    error = abs(mp.mpf(found) - exact)
    assert error <= max(relative * abs(exact), absolute), f"{where}: {found} for {mp.nstr(exact, 12)}"


def random_weights(part, size, seed):
    """The same weights in both precisions, ``size`` times as large as they start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator)).mul_(size)
    return part


def by_determinant(transforms, base, e):
    """log p(f(e)) of a map f, from the base's density and the Jacobian that autograd takes of the map."""

    def image(e):
        for transform in transforms:
            e = copy.copy(transform)(e)
        return e

    jacobian = torch.autograd.functional.jacobian(image, e)
    return image(e), base.log_prob(e) - torch.linalg.slogdet(jacobian).logabsdet


@pytest.mark.parametrize("size", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["autoregressive", "coupling"])
def test_flow_priors_have_the_determinant_of_their_own_map(kind, size):
    """The density at z = f(e), which the prior takes by the inverse; e to 30 standard deviations."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        part = random_weights(built(priors.FlowPrior(kind, 2, hidden=8), 2), size, 0)
    for e in crossed((-30.0, 0.3), (1.5, 30.0)):
        z, exact = by_determinant(
            (p := copy.deepcopy(part).double()()).transforms, p.base_dist, torch.tensor(e, dtype=torch.float64)
        )
        assert p.log_prob(z).item() == pytest.approx(exact.item(), rel=1e-8, abs=1e-8)
        # The point in single precision, and what the map of double precision says there.
        near = z.float()
        there = near.double()
        for transform in reversed(p.transforms):
            there = transform.inv(there)
        _, exact = by_determinant(p.transforms, p.base_dist, there.detach())
        assert part().log_prob(near).item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("size", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["iaf", "planar", "spline"])
def test_flow_posteriors_have_the_determinant_of_their_own_map(kind, size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        part = random_weights(built(posteriors.FlowPosterior(kind, 2, hidden=8), 3, 2), size, 0)
    features = torch.tensor([0.5, -1.0, 2.0])
    for e in crossed((-1.0, 0.25), (1.5, 4.0)):
        p = copy.deepcopy(part).double()(features.double())
        base = p.base_dist.base_dist
        start = base.loc + base.scale * torch.tensor(e, dtype=torch.float64)
        _, exact = by_determinant(p.transforms, p.base_dist, start.detach().float().double())
        q, z = part(features), start.detach().float()
        for transform in q.transforms:
            z = transform(z)
        assert q.log_prob(z).item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_vamp_prior_is_the_mixture_of_its_components(dtype):
    """Components that the guide puts far apart and far from z, each density by mpmath."""
    vae = pv.VAE((2,), 2, network="linear", likelihood="gaussian", prior={"name": "vamp", "num_components": 3})
    posterior = vae.guide.posterior
    with torch.no_grad():
        posterior.loc_head.weight.copy_(torch.tensor([[30.0, -2.0], [0.5, 8.0]]))
        posterior.scale_head.weight.copy_(torch.tensor([[4.0, -6.0], [-3.0, 1.0]]))
        vae.model.prior.pseudo_inputs.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.5], [0.25, -3.0]]))
    vae, parts = vae.to(dtype), []
    heads = [
        [[mp.mpf(v) for v in row] for row in h.weight.tolist()] for h in (posterior.loc_head, posterior.scale_head)
    ]
    biases = [[mp.mpf(v) for v in h.bias.tolist()] for h in (posterior.loc_head, posterior.scale_head)]
    for u in vae.model.prior.pseudo_inputs.tolist():
        loc, log_variance = (
            [b + row[0] * u[0] + row[1] * u[1] for row, b in zip(weight, bias, strict=True)]
            for weight, bias in zip(heads, biases, strict=True)
        )
        parts.append(gaussians(*loc, *(h / 2 for h in log_variance)) - mp.log(3))
    found = vae.model.prior().log_prob(torch.tensor(Z, dtype=dtype)).item()
    assert_close(found, log_sum(parts), *VALUE[dtype], dtype, "vamp")
