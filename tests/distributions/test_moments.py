"""Means, variances and draws in single precision, also where moments around 0 would cancel, by closed forms."""

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats

from ppl_vae.distributions import Beta, CensoredNormal, DiscretisedLogistic, GreyCategorical, Levels


def single(*values):
    return torch.tensor(values, dtype=torch.float32)


def censored_moments(loc, scale, low, high):
    """The mean and the variance, from raw moments with so many digits that none is missed."""
    with mp.workdps(60):
        loc, scale = (mp.mpf(float(np.float32(each))) for each in (loc, scale))
        first = second = mp.mpf(0)
        edges = []
        for end, side in ((low, 1), (high, -1)):
            u = (mp.mpf(float(end)) - loc) / scale if end is not None else -side * mp.inf
            mass = mp.ncdf(side * u)
            bell, moment = (0, 0) if end is None else (mp.npdf(u), u * mp.npdf(u))
            edges.append((mass, bell, moment))
            first += 0 if end is None else end * mass
            second += 0 if end is None else mp.mpf(end) ** 2 * mass
        (below, left, a), (above, right, b) = edges
        inside = 1 - below - above
        first += loc * inside + scale * (left - right)
        second += (loc**2 + scale**2) * inside + 2 * loc * scale * (left - right) + scale**2 * (a - b)
        return float(first), float(second - first**2)


@pytest.mark.parametrize(
    "case",
    [
        (0.3, 1.0, 0.0, None), (1e4, 0.1, 0.0, None), (1e4, 1.0, 9999.0, 10003.0), (5.0, 1e-3, 0.0, 10.0),
        (-8.0, 1.0, 0.0, None), (2008.0, 1.0, None, 2000.0), (250.0, 3.0, 240.0, None), (100.0, 50.0, 99.0, 101.0),
        (0.0, 1.0, 6.0, 9.0), (7.0, 2.0, None, None),
    ],
)  # fmt: skip
def test_moments_of_a_censored_normal_are_those_of_many_digits(case):
    loc, scale, low, high = case
    p = CensoredNormal(single(loc).requires_grad_(), single(scale), low, high)
    mean, variance = censored_moments(*case)
    assert p.mean.item() == pytest.approx(mean, rel=1e-6)
    assert p.variance.item() == pytest.approx(variance, rel=1e-5)
    # The mean moves with loc as much as there is between the limits.
    (slope,) = torch.autograd.grad(p.mean.sum(), p.loc)
    ends = [(end - loc) / scale if end is not None else side * np.inf for end, side in ((low, -1), (high, 1))]
    inside = stats.norm.cdf(ends[1]) - stats.norm.cdf(ends[0]) if ends[0] < 0 else stats.norm.sf(ends[0])
    inside -= 0.0 if ends[0] < 0 else stats.norm.sf(ends[1])
    assert slope.item() == pytest.approx(inside, rel=1e-5)


def of_levels():
    masses = np.array([1e-4, *[1e-9] * 97, 0.02, 0.98])
    log_masses = np.log(masses / masses.sum())
    return Levels(torch.tensor(log_masses, dtype=torch.float32)), np.exp(log_masses), np.arange(100.0)


def of_grey():
    logits = np.full(256, -40.0)
    logits[-2:] = -5.0, 0.0
    masses = np.exp(logits) / np.exp(logits).sum()
    return GreyCategorical(torch.tensor(logits, dtype=torch.float32)), masses, np.linspace(0, 1, 256)


def of_logistic():
    x, loc, scale = np.linspace(0, 1, 256), float(np.float32(1.0)), float(np.exp(np.float32(-7.0)))
    edges = np.concatenate([[-np.inf], (x[:-1] + x[1:]) / 2, [np.inf]])
    masses = np.diff(stats.logistic.cdf(edges, loc, scale))
    return DiscretisedLogistic(single(1.0).squeeze(), single(-7.0).squeeze()), masses, x


@pytest.mark.parametrize("made", [of_levels, of_grey, of_logistic])
def test_the_variance_of_levels_far_from_0_is_their_sum(made):
    p, masses, x = made()
    mean = masses @ x
    assert p.mean.item() == pytest.approx(mean, rel=1e-6)
    assert p.variance.item() == pytest.approx(masses @ (x - mean) ** 2, rel=1e-4)


@pytest.mark.parametrize(("logits", "log_c"), [(-5.0, -10.0), (0.0, -20.0), (1.0, -5.0), (0.5, 3.0), (-2.0, 12.0)])
def test_draws_of_a_beta_lie_where_scipy_has_their_mass(logits, log_c):
    """Of a small concentration nearly all are near 0 or 1; where both Gammas of a draw underflow it was 1/2."""
    size, mean, c = 4000, 1 / (1 + np.exp(-logits)), np.exp(log_c)
    torch.manual_seed(0)
    drawn = Beta(single(logits), single(log_c)).sample((size,)).double().numpy().ravel()
    law = stats.beta(c * mean, c * (1 - mean))
    for point in (1e-20, 1e-3, 0.1, 0.5, 0.9, 0.999, *law.ppf([0.1, 0.6]).clip(1e-30, 1 - 1e-6)):
        share = law.cdf(point)
        error = max(np.sqrt(share * (1 - share) / size), 1 / size)
        assert (drawn <= point).mean() == pytest.approx(share, abs=4.5 * error)
