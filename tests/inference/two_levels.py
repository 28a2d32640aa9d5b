r"""The conjugate model of two levels, with what is exactly known of it.

    mu ~ N(0, s0^2)    z_n ~ N(mu, t^2)    x_n ~ N(z_n, s^2)
    q(mu) = N(m, v^2)  q(z_n | x_n, mu) = N(a x_n + b mu, w^2)

Expectations over mu and over the noise of the local draws are Gauss-Hermite sums, whose gradients autograd takes;
densities are written out. Nothing here uses ppl_vae's densities.

``Sets`` is the pair under test: many such sets side by side, each with a draw of mu and with parameters of its
own, so that one backward pass gives an independent gradient estimate per set; mu then stands in a plate of groups.
"""

import math

import numpy as np
import pyro
import torch
from pyro import distributions as dist

THETA, PHI = ("log_s0", "log_t", "log_s"), ("m", "log_v", "a", "b", "log_w")
X = torch.tensor([0.4, 1.7, -0.6], dtype=torch.float64)


def parameters():
    """Off their optimum, so that no gradient vanishes."""
    values = {
        "log_s0": 0.3,
        "log_t": -0.1,
        "log_s": -0.4,
        "m": 0.7,
        "log_v": -0.5,
        "a": 0.6,
        "b": 0.25,
        "log_w": -0.6,
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def log_normal(value, loc, log_scale):
    return -0.5 * ((value - loc) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)


def hermite(count, dims):
    """Nodes [count^dims, dims] and weights of the standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    nodes, weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    grid = torch.cartesian_prod(*[nodes] * dims).view(-1, dims)
    return grid, torch.cartesian_prod(*[weights] * dims).view(-1, dims).prod(1)


def log_weights(p, x, mu, noise):
    """log w of draws at ``noise`` [Q, K], given mu [G]: [G, Q, K, N]."""
    mu, noise = mu.view(-1, 1, 1, 1), noise.unsqueeze(-1)
    z = p["a"] * x + p["b"] * mu + p["log_w"].exp() * noise
    prior, likelihood = log_normal(z, mu, p["log_t"]), log_normal(x, z, p["log_s"])
    return prior + likelihood - log_normal(z, p["a"] * x + p["b"] * mu, p["log_w"])


def local_bound(p, x, bound, draws):
    """E over mu and the noise of ``draws`` draws of bound(log w [..., K, N]) [..., N], summed over data."""
    nodes, mu_weights = hermite(24, 1)
    noise, weights = hermite(24, draws)
    mu = p["m"] + p["log_v"].exp() * nodes[:, 0]
    inner = bound(log_weights(p, x, mu, noise)).sum(-1)
    return mu_weights @ (inner @ weights)


def global_kl(p):
    """KL(q(mu) || p(mu))."""
    variance = (2 * p["log_v"]).exp()
    return p["log_s0"] - p["log_v"] + 0.5 * (variance + p["m"] ** 2) * (-2 * p["log_s0"]).exp() - 0.5


def log_evidence_of_the_set(p, x):
    """log p(x_1, ..., x_N), whose covariance is s0^2 + (t^2 + s^2) I."""
    own = (2 * p["log_t"]).exp() + (2 * p["log_s"]).exp()
    covariance = (2 * p["log_s0"]).exp() + own * torch.eye(len(x), dtype=x.dtype)
    return torch.distributions.MultivariateNormal(torch.zeros_like(x), covariance).log_prob(x)


def exact_gradient(function, p):
    """The gradient of function(p) by every parameter."""
    leaves = {name: value.clone().requires_grad_() for name, value in p.items()}
    found = torch.autograd.grad(function(leaves), list(leaves.values()), allow_unused=True)
    return {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(leaves.items(), found, strict=True)}


class Sets:
    """R sets side by side; data x [R N], set by set."""

    def __init__(self, p, x, sets):
        self.leaves = {name: value.expand(sets).clone().requires_grad_() for name, value in p.items()}
        self.sets, self.row = sets, torch.arange(sets).repeat_interleave(len(x))
        self.x = x.repeat(sets)

    def model(self, x):
        p, row = self.leaves, self.row
        with pyro.plate("sets", self.sets):
            mu = pyro.sample("mu", dist.Normal(torch.zeros_like(p["m"]), p["log_s0"].exp()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mu[..., row], p["log_t"].exp()[row]))
            pyro.sample("x", dist.Normal(z, p["log_s"].exp()[row]), obs=x)

    def guide(self, x):
        p, row = self.leaves, self.row
        with pyro.plate("sets", self.sets):
            mu = pyro.sample("mu", dist.Normal(p["m"], p["log_v"].exp()))
        with pyro.plate("data", len(x)):
            loc = p["a"][row] * x + p["b"][row] * mu[..., row]
            pyro.sample("z", dist.Normal(loc, p["log_w"].exp()[row]))

    def gradient(self, loss):
        """The gradient of minus the loss, per set: {name: [R]}."""
        found = torch.autograd.grad(-loss, list(self.leaves.values()), allow_unused=True)
        return {
            name: torch.zeros_like(leaf) if g is None else g
            for (name, leaf), g in zip(self.leaves.items(), found, strict=True)
        }


class Draws:
    """One set of data, and parameters of their own for each of R draws, which are ``share`` particles each."""

    def __init__(self, p, x, draws, share=1):
        self.leaves = {name: value.expand(draws).clone().requires_grad_() for name, value in p.items()}
        self.x, self.share = x, share

    gradient = Sets.gradient

    def by_particle(self):
        return {name: leaf.repeat_interleave(self.share).unsqueeze(-1) for name, leaf in self.leaves.items()}

    def model(self, x):
        p = self.by_particle()
        mu = pyro.sample("mu", dist.Normal(torch.zeros_like(p["m"]), p["log_s0"].exp()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mu, p["log_t"].exp()))
            pyro.sample("x", dist.Normal(z, p["log_s"].exp()), obs=x)

    def guide(self, x):
        p = self.by_particle()
        mu = pyro.sample("mu", dist.Normal(p["m"], p["log_v"].exp()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(p["a"] * x + p["b"] * mu, p["log_w"].exp()))


def plain_pair(p):
    """Model and guide of one set as a user writes them, with the numbers of p."""

    def model(x):
        mu = pyro.sample("mu", dist.Normal(torch.zeros_like(p["m"]), p["log_s0"].exp()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mu, p["log_t"].exp()))
            pyro.sample("x", dist.Normal(z, p["log_s"].exp()), obs=x)

    def guide(x):
        mu = pyro.sample("mu", dist.Normal(p["m"], p["log_v"].exp()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(p["a"] * x + p["b"] * mu, p["log_w"].exp()))

    return model, guide
