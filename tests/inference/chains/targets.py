"""Models whose posterior is known exactly: a program, data, and the distribution functions of its coordinates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro import distributions as dist
from scipy import integrate, stats
from scipy.optimize import brentq

from tests.scenarios import draw_data, linear_gaussian


@dataclass(frozen=True)
class Target:
    """A model on N data.

    Attributes:
        model: the program.
        x: [N, *event_shape].
        mean: of the posterior [N, U].
        variance: of it [N, U].
        quantiles: of it, by level: [N, U].
    """

    model: Any
    x: torch.Tensor
    mean: np.ndarray
    variance: np.ndarray
    quantiles: dict[float, np.ndarray]


def known(model, x, marginals):
    """A target by its frozen scipy distribution, whose parameters are [N, U]."""
    quantiles = {level: np.asarray(marginals.ppf(level)) for level in (0.05, 0.95)}
    return Target(model, x, np.asarray(marginals.mean()), np.asarray(marginals.var()), quantiles)


def linear():
    """Three correlated latents under a linear decoder."""
    lg = linear_gaussian(seed=1)
    x = draw_data(lg, 4)
    posterior = lg.posterior(x)
    mean, sd = (each.detach().numpy() for each in (posterior.mean, posterior.variance.sqrt()))
    return known(lg.model, x, stats.norm(mean, sd))


def counts(x):
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(x.new_full((len(x), 1), 2.0), 1.0).to_event(1))
        pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)


def gamma_poisson():
    """Gamma(2, 1) and a count: Gamma(2 + x, 2)."""
    x = torch.tensor([[0.0], [1.0], [4.0], [30.0]], dtype=torch.float64)
    return known(counts, x, stats.gamma(2 + x.numpy(), scale=0.5))


def coins(x):
    with pyro.plate("data", len(x)):
        p = pyro.sample("p", dist.Beta(x.new_full((len(x), 1), 2.0), 3.0).to_event(1))
        pyro.sample("x", dist.Bernoulli(p.expand(*p.shape[:-1], x.shape[-1])).to_event(1), obs=x)


def beta_bernoulli():
    """Beta(2, 3) and six coins: Beta(2 + heads, 3 + tails)."""
    x = torch.tensor([[0.0] * 6, [1.0] * 2 + [0.0] * 4, [1.0] * 6], dtype=torch.float64)
    heads = x.sum(1, keepdim=True).numpy()
    return known(coins, x, stats.beta(2 + heads, 3 + 6 - heads))


def banana_model(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(torch.zeros_like(x), 1.0))
        b = pyro.sample("b", dist.Normal(a.square(), 1.0))
        pyro.sample("x", dist.Normal(torch.zeros_like(b), 1.0), obs=x)


def banana():
    """A ~ N(0, 1), b ~ N(a^2, 1), and a datum that says nothing."""

    def below(q):
        return integrate.quad(lambda a: stats.norm.pdf(a) * stats.norm.cdf(q - a * a), -9, 9)[0]

    quantiles = {
        level: np.array([[stats.norm.ppf(level), brentq(lambda q, p=level: below(q) - p, -3, 20)]])
        for level in (0.05, 0.95)
    }
    return Target(
        banana_model, torch.zeros(1, dtype=torch.float64), np.array([[0.0, 1.0]]), np.array([[1.0, 3.0]]), quantiles
    )


def funnel_model(centred):
    """Neal's funnel (2003): v ~ N(0, 3^2) and four y ~ N(0, exp(v)); the datum says nothing."""

    def model(x):
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Normal(torch.zeros_like(x), 3.0))
            scale = (v / 2).exp() if centred else torch.ones_like(v)
            wide = scale.unsqueeze(-1).expand(*scale.shape, 4)
            pyro.sample("y", dist.Normal(torch.zeros_like(wide), wide).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros_like(v), 1.0), obs=x)

    return model


def funnel():
    """The funnel in the coordinates y / exp(v / 2), in which it is Gaussian."""
    scale = np.array([[3.0, 1.0, 1.0, 1.0, 1.0]])
    return known(funnel_model(centred=False), torch.zeros(1, dtype=torch.float64), stats.norm(0 * scale, scale))


TARGETS = {
    "linear Gaussian": linear,
    "Gamma-Poisson": gamma_poisson,
    "Beta-Bernoulli": beta_bernoulli,
    "funnel, not centred": funnel,
    "banana": banana,
}
