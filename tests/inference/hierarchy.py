"""A pair with two latent sites in a chain, all Gaussian, and its exact answers.

z1 ~ N(0, 1), z2 | z1 ~ N(slope z1, 1/4), x | z ~ N(weight [z1, z2], 1). The guide is a chain in either order:
top-down z1 = m1 + s1 e1, z2 = m2 + gain z1 + s2 e2, or bottom-up z2 = m2 + s2 e2, z1 = m1 + gain z2 + s1 e1.
"""

import math

import pyro
import torch
from pyro import distributions as dist

from tests.inference.oracles import expect

THETA, PHI = ("slope", "weight"), ("m1", "m2", "r1", "r2", "gain")
ORDERS = ["top-down", "bottom-up"]


def joint_posterior(p, x):
    """Mean [2] and covariance [2, 2] of p(z1, z2 | x)."""
    a = p["slope"]
    prior = torch.stack([torch.cat([1 + 4 * a**2, -4 * a]), torch.cat([-4 * a, 4 + 0 * a])])
    covariance = torch.linalg.inv(prior + p["weight"].mT @ p["weight"])
    return covariance @ (p["weight"].mT @ x), covariance


def chain_workbench(order, off=0.5, seed=0):
    """Parameters and a datum; the guide is the exact posterior, moved off by ``off`` in mean, scale and gain."""
    g = torch.Generator().manual_seed(seed)
    weight, x = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((3, 2), (3,)))
    p = {"slope": torch.full((1,), 0.8, dtype=torch.float64), "weight": weight}
    mean, covariance = joint_posterior(p, x)
    first, then = (0, 1) if order == "top-down" else (1, 0)
    gain = covariance[first, then] / covariance[first, first]
    inner = covariance[then, then] - gain * covariance[first, then]
    sd = covariance.diagonal().sqrt()
    p["gain"] = (gain + 0.4 * off).view(1)
    for index, centre, variance in (
        (first, mean[first], covariance[first, first]),
        (then, mean[then] - gain * mean[first], inner),
    ):
        p[f"m{index + 1}"] = (centre + off * sd[index]).view(1)
        p[f"r{index + 1}"] = (0.5 * variance.log() + 0.4 * off).view(1)
    return p, x


def _normal(value, loc, log_scale):
    return -0.5 * ((value - loc) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)


def log_weights(p, x, eps, order):
    """log w of noise [..., 2], written out."""
    e1, e2 = eps[..., 0], eps[..., 1]
    if order == "top-down":
        z1 = p["m1"] + p["r1"].exp() * e1
        z2 = p["m2"] + p["gain"] * z1 + p["r2"].exp() * e2
        log_q = _normal(z1, p["m1"], p["r1"]) + _normal(z2, p["m2"] + p["gain"] * z1, p["r2"])
    else:
        z2 = p["m2"] + p["r2"].exp() * e2
        z1 = p["m1"] + p["gain"] * z2 + p["r1"].exp() * e1
        log_q = _normal(z2, p["m2"], p["r2"]) + _normal(z1, p["m1"] + p["gain"] * z2, p["r1"])
    zero = torch.zeros(1, dtype=x.dtype)
    log_prior = _normal(z1, zero, zero) + _normal(z2, p["slope"] * z1, zero - math.log(2))
    return _normal(x, torch.stack([z1, z2], -1) @ p["weight"].mT, zero).sum(-1) + log_prior - log_q


def expected(p, x, bound, draws, order):
    """E bound(log w [draws, n]) by quadrature."""
    nodes = {1: 40, 2: 20}[draws]
    return expect(lambda eps: bound(log_weights(p, x, eps, order)), draws, 2, nodes)


class Chain:
    """Copies of one datum, each with leaves of its own. Attributes as of ``oracles.Copies``."""

    def __init__(self, p, x, groups, order):
        self.groups, self.order = groups, order
        self.x = x.expand(groups, len(x))
        self.p = {name: value.expand(groups, *value.shape).clone().requires_grad_() for name, value in p.items()}
        self.live = self.p

    def model(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(1, dtype=x.dtype), 1).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(self.p["slope"] * z1, 0.5).to_event(1))
            loc = (self.p["weight"] @ torch.cat([z1, z2], -1).unsqueeze(-1)).squeeze(-1)
            pyro.sample("x", dist.Normal(loc, 1).to_event(1), obs=x)

    def guide(self, x):
        first, then = ("1", "2") if self.order == "top-down" else ("2", "1")
        with pyro.plate("data", len(x)):
            outer = pyro.sample("z" + first, self._site(first, self.p["m" + first]))
            pyro.sample("z" + then, self._site(then, self.p["m" + then] + self.p["gain"] * outer))

    def _site(self, which, loc):
        return dist.Normal(loc, self.p["r" + which].exp()).to_event(1)
