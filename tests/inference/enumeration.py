"""Exact answers for discrete latents, by enumeration, and the pair that they are the answers of.

z is B bits, z_j ~ Bernoulli(logistic(prior_j)), x | z ~ N(weight z, 1), q = prod Bernoulli(logistic(q_j)); or
one categorical site with C values, p(z) = softmax(prior), x | z ~ N(weight[z], 1), q = softmax(q).
"""

import itertools
import math

import pyro
import torch
from pyro import distributions as dist

THETA, PHI = ("prior", "weight"), ("q",)


def discrete_workbench(kind, seed=0, size=3, data_dim=2):
    """Random parameters {"prior", "weight", "q"} and a datum."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    shape = (data_dim, size) if kind == "bits" else (size, data_dim)
    return {"prior": draw(size), "weight": draw(*shape), "q": draw(size)}, draw(data_dim)


def table(kind, p, x):
    """log p(x, z) and log q(z|x) of every value of z: [V], [V]."""
    if kind == "bits":
        z = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(p["q"]))), dtype=torch.float64)
        log_prior, log_guide = ((z * p[n] - torch.nn.functional.softplus(p[n])).sum(1) for n in ("prior", "q"))
        loc = z @ p["weight"].mT
    else:
        log_prior, log_guide, loc = p["prior"].log_softmax(0), p["q"].log_softmax(0), p["weight"]
    log_likelihood = -0.5 * ((x - loc).square() + math.log(2 * math.pi)).sum(1)
    return log_likelihood + log_prior, log_guide


def expect_tuples(f, kind, p, x, draws):
    """E f(log p(x, z_k), log q(z_k)) over ``draws`` independent draws, f from [draws, n] twice to [n]."""
    log_joint, log_guide = table(kind, p, x)
    index = torch.cartesian_prod(*[torch.arange(len(log_joint))] * draws).view(-1, draws).T
    return (log_guide[index].sum(0).exp() * f(log_joint[index], log_guide[index])).sum()


def expect_constant(f, kind, p, x, draws):
    """The same with the probabilities of the draws held constant: the mean of a gradient estimator's surrogate."""
    log_joint, log_guide = table(kind, p, x)
    index = torch.cartesian_prod(*[torch.arange(len(log_joint))] * draws).view(-1, draws).T
    mass = log_guide.detach()[index].sum(0).exp()
    return (mass * f(log_joint[index], log_guide[index])).sum()


class DiscreteCopies:
    """Copies of one datum, each with leaves of its own: gradients per copy. Attributes as of ``oracles.Copies``."""

    def __init__(self, kind, p, x, groups):
        self.kind, self.groups = kind, groups
        self.x = x.expand(groups, len(x))
        self.p = {name: value.expand(groups, *value.shape).clone().requires_grad_() for name, value in p.items()}
        self.live = self.p

    def _distribution(self, logits):
        if self.kind == "bits":
            return dist.Bernoulli(logits=logits).to_event(1)
        return dist.Categorical(logits=logits)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self._distribution(self.p["prior"]))
            if self.kind == "bits":
                loc = (self.p["weight"] @ z.unsqueeze(-1)).squeeze(-1)
            else:
                rows = torch.nn.functional.one_hot(z, self.p["q"].shape[-1]).to(x.dtype)
                loc = (rows.unsqueeze(-2) @ self.p["weight"]).squeeze(-2)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self._distribution(self.p["q"]))
