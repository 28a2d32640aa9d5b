"""Exact answers for the estimators, and the test that compares many numbers with them at once.

The linear-Gaussian workbench (KNOWLEDGE 0.1): z ~ N(0, I_L), x | z ~ N(W z + b, sigma^2 I_D), and the guide
q = N(loc, diag exp(2 log_scale)). Parameters are a dict "weight", "bias", "log_sigma" (the model's, THETA)
and "loc", "log_scale" (the guide's, PHI). With A = W'W / sigma^2, M = A + I, h = W'(x - b) / sigma^2 the
posterior is N(M^-1 h, M^-1). Bounds of several draws are Gauss-Hermite sums over the standard normal noise of all
draws; their gradients are taken by autograd through those sums. Nothing here uses ppl_vae's densities.

``Copies`` is the pair under test: many copies of one datum, in groups with parameters of their own, so that
one backward pass gives one independent gradient estimate per group.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import pyro
import torch
from pyro import distributions as dist

from ppl_vae import inference as inf

THETA, PHI = ("weight", "bias", "log_sigma"), ("loc", "log_scale")

# One false-alarm rate for all joint tests of these files together, shared among at most so many of them.
SUITE_RATE, NUM_JOINT_TESTS = 1e-3, 250
ROUNDING = 1e-10


# The joint test -----------------------------------------------------------------------------------------


def critical_z(count=1):
    """The largest |z| that one joint test of ``count`` coordinates may show: Bonferroni at the suite's rate."""
    return NormalDist().inv_cdf(1 - SUITE_RATE / (2 * NUM_JOINT_TESTS * count))


def largest_z(estimate, stderr, exact, magnitude=0.0):
    """max |estimate - exact| in standard errors, after the rounding floor 1e-10 of ``magnitude`` is taken off."""
    excess = ((estimate - exact).abs() - ROUNDING * magnitude).clamp_min(0)
    return torch.where(excess > 0, excess / stderr, excess).max().item()


def assert_jointly(estimate, stderr, exact, magnitude=1.0):
    """Many estimates agree with their exact values; returns the largest |z|."""
    worst = largest_z(estimate, stderr, exact, magnitude)
    assert worst < critical_z(estimate.numel()), f"largest |z| of {estimate.numel()} coordinates is {worst:.2f}"
    return worst


def assert_mean(draws, exact, magnitude=1.0, k=4.0):
    """The mean of independent draws [R] is within k standard errors of ``exact``; returns |z|."""
    stderr = draws.std() / math.sqrt(len(draws))
    z = largest_z(draws.mean(), stderr, torch.as_tensor(exact, dtype=draws.dtype), magnitude)
    assert z < k, f"mean {draws.mean():.6f} is {z:.2f} standard errors ({stderr:.2g}) off {float(exact):.6f}"
    return z


def assert_gradient(draws, exact, magnitude=1.0):
    """One joint test of gradient draws {name: [G, *shape]} against exact gradients {name: [*shape]}."""
    flat = torch.cat([draws[name].reshape(len(draws[name]), -1) for name in exact], dim=1)
    wanted = torch.cat([exact[name].flatten() for name in exact])
    return assert_jointly(flat.mean(0), flat.std(0) / math.sqrt(len(flat)), wanted, magnitude)


def assert_variance(draws, exact, relative, magnitude=1.0):
    """Sample variances of draws [R, P] are within ``relative`` of exact [P], and jointly within their errors."""
    draws, exact = draws.reshape(len(draws), -1), torch.as_tensor(exact, dtype=draws.dtype).flatten()
    squares = (draws - draws.mean(0)).square()
    variance, stderr = draws.var(0), squares.std(0) / math.sqrt(len(draws))
    off = ((variance - exact).abs() / exact).max().item()
    assert off < relative, f"a variance is off by {100 * off:.1f}%"
    assert_jointly(variance, stderr, exact, magnitude)
    return off


# The linear-Gaussian workbench --------------------------------------------------------------------------


def workbench(seed, data_dim, latent_dim, shift=0.5, widen=1.25):
    """Random parameters and a datum; the guide is ``shift`` posterior standard deviations off its optimum.

    The guide is ``widen`` times as wide as the best one, which keeps 2 S - V > 0 for these seeds (asserted).
    """
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(data_dim, latent_dim, generator=g, dtype=torch.float64) / math.sqrt(data_dim)
    bias = torch.randn(data_dim, generator=g, dtype=torch.float64)
    sigma = 0.5 + 0.5 * torch.rand((), generator=g, dtype=torch.float64)
    z = torch.randn(latent_dim, generator=g, dtype=torch.float64)
    x = weight @ z + bias + sigma * torch.randn(data_dim, generator=g, dtype=torch.float64)
    p = {"weight": weight, "bias": bias, "log_sigma": sigma.log()}
    mean, covariance = posterior(p, x)
    sign = torch.randn(latent_dim, generator=g, dtype=torch.float64).sign()
    best = (1 / torch.linalg.inv(covariance).diagonal()).sqrt()
    p["loc"] = mean + shift * sign * covariance.diagonal().sqrt()
    p["log_scale"] = (widen * best).log()
    assert torch.linalg.eigvalsh(2 * torch.diag(p["log_scale"].exp() ** 2) - covariance)[0] > 0
    return p, x


def precision_and_pull(p, x):
    """A [L, L] and h [L]."""
    variance = torch.exp(2 * p["log_sigma"])
    return p["weight"].mT @ p["weight"] / variance, p["weight"].mT @ (x - p["bias"]) / variance


def posterior(p, x):
    """Mean and covariance of p(z|x)."""
    a, h = precision_and_pull(p, x)
    covariance = torch.linalg.inv(a + torch.eye(len(h), dtype=h.dtype))
    return covariance @ h, covariance


def log_evidence(p, x):
    """log p(x), from the marginal N(b, W W' + sigma^2 I)."""
    variance = torch.exp(2 * p["log_sigma"])
    covariance = p["weight"] @ p["weight"].mT + variance * torch.eye(len(x), dtype=x.dtype)
    r = x - p["bias"]
    quadratic = r @ torch.linalg.solve(covariance, r)
    return -0.5 * (len(x) * math.log(2 * math.pi) + torch.linalg.slogdet(covariance)[1] + quadratic)


def elbo(p, x):
    """The exact ELBO."""
    variance, s2 = torch.exp(2 * p["log_sigma"]), torch.exp(2 * p["log_scale"])
    r = x - p["bias"] - p["weight"] @ p["loc"]
    spread = (p["weight"].square() * s2).sum()
    fit = -0.5 * (len(x) * torch.log(2 * math.pi * variance) + (r @ r + spread) / variance)
    return fit - 0.5 * (p["loc"].square() + s2 - 1 - 2 * p["log_scale"]).sum()


def elbo_gradient(p, x):
    """The exact gradient of the ELBO, written out (KNOWLEDGE 0.1)."""
    a, h = precision_and_pull(p, x)
    m = a + torch.eye(len(h), dtype=h.dtype)
    variance, s2 = torch.exp(2 * p["log_sigma"]), torch.exp(2 * p["log_scale"])
    r = x - p["bias"] - p["weight"] @ p["loc"]
    return {
        "weight": (torch.outer(r, p["loc"]) - p["weight"] * s2) / variance,
        "bias": r / variance,
        "log_sigma": -len(x) + (r @ r + (p["weight"].square() * s2).sum()) / variance,
        "loc": h - m @ p["loc"],
        "log_scale": 1 - s2 * m.diagonal(),
    }


def kl_from_posterior(p, x):
    """KL(p(z|x) || q), what wake-sleep's guide descends."""
    mean, covariance = posterior(p, x)
    s2 = torch.exp(2 * p["log_scale"])
    trace, distance = covariance.diagonal() / s2, (mean - p["loc"]).square() / s2
    return 0.5 * ((trace + distance - 1 + 2 * p["log_scale"]).sum() - torch.linalg.slogdet(covariance)[1])


def tempered_log_weight(p, x, b):
    """E_{pi_b} log w with pi_b proportional to q^(1-b) p(x, z)^b, a Gaussian (KNOWLEDGE 0.6)."""
    a, h = precision_and_pull(p, x)
    m, s2 = a + torch.eye(len(h), dtype=h.dtype), torch.exp(2 * p["log_scale"])
    mean, _ = posterior(p, x)
    precision = (1 - b) * torch.diag(1 / s2) + b * m
    covariance = torch.linalg.inv(precision)
    centre = covariance @ ((1 - b) * p["loc"] / s2 + b * h)
    from_posterior = 0.5 * ((m @ covariance).trace() + (centre - mean) @ m @ (centre - mean))
    log_posterior = 0.5 * torch.linalg.slogdet(m)[1] - from_posterior
    from_guide = 0.5 * ((covariance.diagonal() + (centre - p["loc"]).square()) / s2).sum()
    return log_evidence(p, x) + log_posterior - (-p["log_scale"].sum() - from_guide)


def gradient_of(f, p, names):
    """{name: d f(p) / d p[name]} by autograd."""
    live = {name: p[name].clone().requires_grad_() for name in names}
    found = torch.autograd.grad(f({**p, **live}), list(live.values()), materialize_grads=True, allow_unused=True)
    return dict(zip(names, found, strict=True))


# Quadrature ---------------------------------------------------------------------------------------------


@cache
def normal_nodes(order, dims):
    """Nodes [n, dims] and weights [n] under N(0, I); corners of no weight are left out."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    t, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    grid = torch.cartesian_prod(*[t] * dims).view(-1, dims)
    mass = torch.cartesian_prod(*[w] * dims).view(-1, dims).prod(-1)
    kept = mass > 1e-17
    return grid[kept], mass[kept]


def expect(f, draws, dims, order):
    """E f(eps), eps [draws, n, dims] standard normal, f giving [n]."""
    nodes, mass = normal_nodes(order, draws * dims)
    return (mass * f(nodes.view(-1, draws, dims).transpose(0, 1))).sum()


def log_densities(p, x, z):
    """log p(x|z), log p(z), log q(z) of z [..., L]."""
    residual = (x - p["bias"] - z @ p["weight"].mT) / p["log_sigma"].exp()
    scaled = (z - p["loc"]) / p["log_scale"].exp()
    half = 0.5 * math.log(2 * math.pi)
    log_likelihood = -(0.5 * residual.square() + p["log_sigma"] + half).sum(-1)
    log_guide = -(0.5 * scaled.square() + p["log_scale"] + half).sum(-1)
    return log_likelihood, -(0.5 * z.square() + half).sum(-1), log_guide


def log_weights(p, x, eps, kl_weight=1.0):
    """log p(x|z) + kl_weight (log p(z) - log q(z)) at z = loc + scale eps."""
    log_likelihood, log_prior, log_guide = log_densities(p, x, p["loc"] + p["log_scale"].exp() * eps)
    return log_likelihood + kl_weight * (log_prior - log_guide)


def expected_bound(p, x, bound, draws, kl_weight=1.0, order=None):
    """E bound(log w [draws, n]) over independent draws from the guide, by quadrature."""
    dims = len(p["loc"])
    order = order or {1: 80, 2: 64}.get(draws * dims, 20)
    return expect(lambda eps: bound(log_weights(p, x, eps, kl_weight)), draws, dims, order)


def expected_surrogate(p, x, surrogate, draws, kl_weight=1.0):
    """E surrogate(log p(x, z_k), log q(z_k)) with the draws held constant.

    Its derivative is the exact mean of a score-function estimator at that number of draws. Under a KL weight
    "log p(x, z)" is log p(x|z) + kl_weight log p(z).
    """
    loc, scale = p["loc"].detach(), p["log_scale"].detach().exp()

    def at(eps):
        log_likelihood, log_prior, log_guide = log_densities(p, x, loc + scale * eps)
        return surrogate(log_likelihood + kl_weight * log_prior, log_guide)

    return expect(at, draws, len(loc), {1: 80, 2: 64}.get(draws * len(loc), 20))


def without_leading_bias(small, large):
    """2 E large - E small where ``large`` takes twice the draws: a bias c / K cancels. Estimate and its error.

    Args:
        small: {name: [G, *shape]}, independent gradient draws.
        large: the same from twice as many draws per estimate.
    """
    means, errors = [], []
    for name in small:
        a, b = (g[name].reshape(len(g[name]), -1) for g in (small, large))
        means.append(2 * b.mean(0) - a.mean(0))
        errors.append((4 * b.var(0) / len(b) + a.var(0) / len(a)).sqrt())
    return torch.cat(means), torch.cat(errors)


def log_mean_exp(log_weight):
    """log of the mean of exp over the first dimension."""
    return log_weight.logsumexp(0) - math.log(len(log_weight))


# The pair under test ------------------------------------------------------------------------------------


class Copies:
    """``groups`` x ``repeat`` copies of one datum; every group has leaves of its own for the names in ``live``."""

    def __init__(self, p, x, groups, repeat=1, live=(*THETA, *PHI)):
        self.groups, self.repeat = groups, repeat
        self.x = x.expand(groups * repeat, len(x))
        self.p = {
            name: value.expand(groups if name in live else 1, *value.shape).clone().requires_grad_(name in live)
            for name, value in p.items()
        }
        self.live = {name: self.p[name] for name in live}

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            grouped = z.unflatten(-2, (self.groups, self.repeat))
            loc = (grouped @ self.p["weight"].mT + self.p["bias"].unsqueeze(-2)).flatten(-3, -2)
            scale = self._per_copy(self.p["log_sigma"].unsqueeze(-1)).exp()
            pyro.sample("x", dist.Normal(loc, scale).to_event(1), obs=x)

    def prior(self):
        zeros = torch.zeros(self.p["loc"].shape[-1], dtype=self.x.dtype)
        return dist.Normal(zeros, 1).to_event(1)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior())

    def posterior(self):
        return dist.Normal(self._per_copy(self.p["loc"]), self._per_copy(self.p["log_scale"]).exp()).to_event(1)

    def _per_copy(self, leaf):
        return leaf.unsqueeze(1).expand(-1, self.x.shape[0] // len(leaf), -1).flatten(0, 1)


def estimate(objective, copies, kl_weight=1.0):
    """One run: the bound per copy [R], and the gradient that training climbs, per group {name: [G, *shape]}."""
    terms = inf.trace_terms(
        copies.model, copies.guide, copies.x, num_particles=objective.num_draws, gradient=objective.gradient
    ).weighted(kl_weight)
    climbed = -copies.groups * objective.forward(terms)
    gradient = torch.autograd.grad(climbed, list(copies.live.values()), materialize_grads=True, allow_unused=True)
    return objective.bound(terms).detach(), dict(zip(copies.live, gradient, strict=True))


def repeated(objective, make_copies, chunks, seed=0, kl_weight=1.0):
    """``estimate`` over several runs from one seed, joined."""
    torch.manual_seed(seed)
    runs = [estimate(objective, make_copies(), kl_weight) for _ in range(chunks)]
    gradients = {name: torch.cat([g[name] for _, g in runs]) for name in runs[0][1]}
    return torch.cat([value for value, _ in runs]), gradients
