"""Pairs as users of Pyro write them, with what is exactly known of each: the table that the laws go through.

Every row is a model and a guide on data x, the exact log p(x) where there is one, the pair that stock
``pyro.infer.Trace_ELBO`` is asked about (the same, unless a weight of the loss has to be left out), and the
words with which single functions refuse it. Whatever is not refused must be right.

The exact answers: z ~ N(0, 1), x | z ~ N(z, 1) has p(x) = N(x; 0, 2); other latents of one dimension by
quadrature or by a sum, from densities of scipy.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints, transforms
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoLaplaceApproximation,
    AutoNormal,
    AutoNormalMessenger,
)
from pyro.infer.reparam import LocScaleReparam
from pyro.nn import PyroModule, PyroParam
from scipy import stats
from scipy.integrate import trapezoid
from torch import nn

N = 12
EVERYTHING = ("evaluate", "log_evidence", "fit", "compare", "importance", "diagnose")
#: Of what a refusal of the pair as such keeps nobody from.
DENSITIES = EVERYTHING


@dataclass(frozen=True)
class Row:
    """One pair: ``make()`` gives (model, guide)."""

    make: Callable
    x: torch.Tensor
    evidence: Callable | None = None
    plain: Callable | None = None
    refused: dict = field(default_factory=dict)
    estimator: str = "monte-carlo-kl"
    stock: bool = True
    # The dimensions of its plates, which stock Pyro has to be told.
    nesting: int = 1

    def __post_init__(self):
        assert set(self.refused) <= set(EVERYTHING)


def refused(words, *names):
    """Refused by these functions, or by all."""
    return dict.fromkeys(names or EVERYTHING, words)


def real(n=N, seed=0):
    return 1.4 * torch.randn(n, generator=torch.Generator().manual_seed(seed))


def positive(n=N, seed=0):
    return real(n, seed).abs() + 0.3


X, POSITIVE = real(), positive()
COUNTS = torch.tensor([0, 1, 3, 2, 0, 5, 1, 2, 4, 0, 1, 2])
HALF = torch.arange(N) % 2 == 0


# Exact answers --------------------------------------------------------------------------------------------


def normal_evidence(x, loc=0.0, scale=2**0.5):
    return torch.from_numpy(stats.norm(loc, scale).logpdf(x.double().numpy()))


def by_quadrature(prior, likelihood, low, high):
    """log of the integral over z of prior(z) likelihood(x, z), by the trapezoid rule on a fine grid."""

    def evidence(x):
        z = np.linspace(low, high, 40_001)
        density = prior(z) * likelihood(x.double().numpy()[:, None], z)
        return torch.from_numpy(np.log(trapezoid(density, z, axis=1)))

    return evidence


def gaussian(x, z, scale=1.0):
    return stats.norm(z, scale).pdf(x)


# The usual pair, in every style ------------------------------------------------------------------------------


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x):
    slope = pyro.param("slope", torch.tensor(0.4))
    scale = pyro.param("scale", torch.tensor(0.8), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(slope * x, scale))


def plain():
    return model, guide


def other_plate():
    def theirs(x):
        with pyro.plate("observations", x.shape[0], dim=-1):
            z = pyro.sample("code", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        loc = pyro.param("loc", torch.tensor(0.4))
        with pyro.plate("rows", x.shape[0], dim=-1):
            pyro.sample("code", dist.Normal(loc * x, 0.8))

    return theirs, ours


class Linear(nn.Module):
    """q(z | x) by a linear layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[0.4], [0.05]]))
            self.layer.bias.copy_(torch.tensor([0.0, -0.2]))

    def forward(self, x):
        loc, log_scale = self.layer(x.unsqueeze(-1)).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))


class Loading(nn.Module):
    """p(x | z) with a trainable loading."""

    def __init__(self):
        super().__init__()
        self.loading = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.loading * z, 1.0), obs=x)


class Methods(nn.Module):
    """Both programs as methods of one module."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = Loading(), Linear()

    def model(self, x):
        self.decoder(x)

    def guide(self, x):
        self.encoder(x)


class PyroLinear(PyroModule):
    """A guide of PyroParams."""

    def __init__(self):
        super().__init__()
        self.slope = PyroParam(torch.tensor(0.4))
        self.scale = PyroParam(torch.tensor(0.8), constraint=constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x, self.scale))


def methods():
    both = Methods()
    return both.model, both.guide


def registered():
    encoder = nn.Linear(1, 1)
    with torch.no_grad():
        encoder.weight.fill_(0.4)
        encoder.bias.zero_()

    def ours(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x.unsqueeze(-1)).squeeze(-1), 0.8))

    return model, ours


def keywords():
    def theirs(x, loc=0.0, *, scale=1.0):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z, scale), obs=x)

    def ours(x, loc=0.0, *, scale=1.0):
        guide(x)

    return theirs, ours


def expanded():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x)]))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return theirs, guide


# More sites than two --------------------------------------------------------------------------------------------


def deterministic():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = pyro.deterministic("mean", 2.0 * z)
            pyro.sample("x", dist.Normal(0.5 * mean, 1.0), obs=x)

    return theirs, guide


def factor():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.factor("penalty", -0.5 * z**2)

    return theirs, guide


def factor_in_guide():
    def ours(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.4 * x, 0.8))
            pyro.factor("more", 0.0 * z, has_rsample=True)

    return model, ours


def two_observed():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("first", dist.Normal(z, 1.0), obs=x)
            pyro.sample("second", dist.Normal(z, 2.0), obs=0.5 * x)

    return theirs, guide


def two_observed_evidence(x):
    covariance = np.array([[2.0, 1.0], [1.0, 5.0]])
    both = np.stack([x.double().numpy(), 0.5 * x.double().numpy()], -1)
    return torch.from_numpy(stats.multivariate_normal([0, 0], covariance).logpdf(both))


def chained():
    def theirs(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.Normal(0.0, 1.0))
            low = pyro.sample("low", dist.Normal(top, 1.0))
            pyro.sample("x", dist.Normal(low, 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            low = pyro.sample("low", dist.Normal(slope * x, 0.9))
            pyro.sample("top", dist.Normal(0.5 * low, 0.75))

    return theirs, ours


def nested_event():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 3), 1.0).to_event(1).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(2), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.45))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x, 0.75).to_event(2))

    return theirs, ours


def nested_evidence(x):
    return normal_evidence(x).sum((-1, -2))


def full_covariance():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.45))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(slope * x, scale_tril=torch.tensor([[0.8, 0.0], [0.1, 0.7]])))

    return theirs, ours


# Latents of other kinds -------------------------------------------------------------------------------------


def bernoulli():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(1.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=slope * x - 2.5))

    return theirs, ours


def categorical():
    def theirs(x):
        loc = torch.tensor([-2.0, 0.0, 2.0])
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.tensor([0.5, 0.2, 0.3])))
            pyro.sample("x", dist.Normal(loc[z], 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor([-1.8, 0.0, 1.8]))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=x.unsqueeze(-1) * slope), infer={"enumerate": "parallel"})

    return theirs, ours


def mixture_evidence(weights, locs):
    def evidence(x):
        x = x.double().numpy()
        return torch.from_numpy(np.log(sum(w * gaussian(x, loc) for w, loc in zip(weights, locs, strict=True))))

    return evidence


def log_normal():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(0.0, 0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        shift = pyro.param("shift", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal(0.1 * x + shift, 0.5))

    return theirs, ours


def gamma_poisson():
    def theirs(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def ours(x):
        shape = pyro.param("shape", torch.tensor(2.3), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Gamma(shape + 0.9 * x, 2.0))

    return theirs, ours


def gamma_poisson_evidence(x):
    return torch.from_numpy(stats.nbinom(2, 0.5).logpmf(x.numpy()))


def beta():
    def theirs(x):
        with pyro.plate("data", len(x)):
            share = pyro.sample("share", dist.Beta(2.0, 3.0))
            pyro.sample("x", dist.Normal(share, 1.0), obs=x)

    def ours(x):
        a = pyro.param("a", torch.tensor(2.1), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("share", dist.Beta(a, 3.0 + 0.0 * x))

    return theirs, ours


def transformed():
    def ours(x):
        loc = pyro.param("loc", torch.tensor(0.4))
        base = dist.Normal(loc * x, 0.4)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.TransformedDistribution(base, [transforms.AffineTransform(0.0, 2.0)]))

    return model, ours


def flow():
    torch.manual_seed(0)
    step = transforms.planar(2)
    with torch.no_grad():
        for parameter in step.parameters():
            parameter.mul_(0.1)

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def ours(x):
        pyro.module("flow", step)
        base = dist.Normal(0.45 * x, 0.75).to_event(1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.TransformedDistribution(base, [step]))

    return theirs, ours


def pairs_evidence(x):
    return normal_evidence(x).sum(-1)


def straight_through():
    temperature = torch.tensor(0.5)

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.RelaxedBernoulliStraightThrough(temperature, logits=torch.tensor(0.2)))
            pyro.sample("x", dist.Normal(2 * z - 1, 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(1.2))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.RelaxedBernoulliStraightThrough(temperature, logits=slope * x))

    return theirs, ours


def straight_through_one_hot():
    temperature, loc = torch.tensor(0.7), torch.tensor([-1.0, 0.0, 2.0])

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.RelaxedOneHotCategoricalStraightThrough(temperature, logits=torch.zeros(3)))
            pyro.sample("x", dist.Normal(z @ loc, 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor([-0.5, 0.0, 0.7]))
        with pyro.plate("data", len(x)):
            q = dist.RelaxedOneHotCategoricalStraightThrough(temperature, logits=x.unsqueeze(-1) * slope)
            pyro.sample("z", q)

    return theirs, ours


# Auxiliary sites, points ------------------------------------------------------------------------------------


def gamma_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Gamma(2.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def auto(kind, program, x, **options):
    def make():
        found = kind(program, **options)
        found(x)
        return program, found

    return make


class Amortised(AutoNormalMessenger):
    """A guide that runs the model, with a posterior of its own that is a function of x."""

    def get_posterior(self, name, prior):
        (x,), _ = self.args_kwargs
        return dist.Normal(pyro.param("slope", torch.tensor(0.4)) * x, 0.8)


def messenger():
    return model, Amortised(model)


def by_hand(log_density):
    """z = exp(a), whose log volume is a."""

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.2))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(slope * x, 0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(a.exp(), log_density=log_density(a)))

    return lambda: (gamma_model, ours)


def by_hand_in_events():
    """The same with an event of one number, which ``to_event`` declares."""

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2.0, x.new_ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(z.squeeze(-1), 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.2))
        with pyro.plate("data", len(x)):
            normal = dist.Normal(slope * x.unsqueeze(-1), 0.5).to_event(1)
            a = pyro.sample("a", normal, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(a.exp(), log_density=-a).to_event(1))

    return theirs, ours


def simplex():
    """A point on a simplex of three, from two real numbers by stick breaking."""
    loc = torch.tensor([-1.0, 0.0, 1.0])

    def theirs(x):
        with pyro.plate("data", len(x)):
            share = pyro.sample("share", dist.Dirichlet(torch.tensor([1.5, 2.0, 2.5])))
            pyro.sample("x", dist.Normal(share @ loc, 1.0), obs=x)

    return theirs


def auxiliary():
    def ours(x):
        with pyro.plate("data", len(x)):
            spread = pyro.param("spread", torch.tensor(2.0))
            a = pyro.sample("a", dist.Normal(0.0 * x, spread), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(0.5 * x + 0.05 * a, 0.72))

    return model, ours


def with_reverse_model():
    """The same with r(a | x, z) in the model: then (a, z) are latent, and p(x) is what it was."""

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("a", dist.Normal(0.1 * z, 2.1))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return theirs, auxiliary()[1]


def points():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(slope * x))

    return theirs, ours


# Scales, masks, plates --------------------------------------------------------------------------------------


def scaled(in_model, in_guide):
    def theirs(x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=in_model):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        with poutine.scale(scale=in_guide):
            guide(x)

    return lambda: (theirs, ours)


def scaled_likelihood():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.scale(scale=3.0):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return theirs, guide


def masked(of_latent, of_data, in_guide=None):
    in_guide = of_latent if in_guide is None else in_guide

    def mask(keep):
        return poutine.mask(mask=keep)

    def theirs(x):
        with pyro.plate("data", len(x)):
            with mask(of_latent[: len(x)]):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with mask(of_data[: len(x)]):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        with mask(in_guide[: len(x)]):
            guide(x)

    return lambda: (theirs, ours)


def masked_distribution():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0).mask(HALF), obs=x)

    return theirs, guide


ALL = torch.ones(N, dtype=torch.bool)


def half_evidence(x):
    return torch.where(HALF, normal_evidence(x), 0.0)


def partly_observed():
    """Pyro's obs_mask: a value that is missing is a latent site."""

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x, obs_mask=HALF)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.4))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x * HALF, 0.8))
            with poutine.mask(mask=~HALF):
                pyro.sample("x_unobserved", dist.Normal(0.0 * x, 1.3))

    return theirs, ours


def masked_otherwise():
    """The model masks by a handler, as obs_mask does, and the guide by ``q.mask(...)``."""
    theirs, _ = partly_observed()

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.4))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x * HALF, 0.8))
            pyro.sample("x_unobserved", dist.Normal(0.0 * x, 1.3).mask(~HALF))

    return theirs, ours


def subsampled():
    def theirs(x):
        with pyro.plate("data", len(x), subsample_size=5) as chosen:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[chosen])

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.4))
        with pyro.plate("data", len(x), subsample_size=5) as chosen:
            pyro.sample("z", dist.Normal(slope * x[chosen], 0.8))

    return theirs, ours


def batch_of_more():
    """Pyro's plate of a batch: all of x, out of 1000 data."""

    def theirs(x):
        with pyro.plate("data", 1000, subsample=x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.4))
        with pyro.plate("data", 1000, subsample=x):
            pyro.sample("z", dist.Normal(slope * x, 0.8))

    return theirs, ours


def per_datum():
    def ours(x):
        loc = pyro.param("loc", 0.45 * X)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.75))

    return model, ours


def global_latent():
    def theirs(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 0.3))
        guide(x)

    return theirs, ours


def no_plate():
    def theirs(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def ours(x):
        pyro.sample("z", dist.Normal(pyro.param("slope", torch.tensor(0.4)) * x, 0.8).to_event(1))

    return theirs, ours


def both_alike_evidence(x):
    """Of two observations of x at one latent value."""
    covariance = np.array([[2.0, 1.0], [1.0, 2.0]])
    both = np.stack([x.double().numpy()] * 2, -1)
    return torch.from_numpy(stats.multivariate_normal([0, 0], covariance).logpdf(both))


def unnamed_dim():
    """Two plates without dims, the data's on the left."""

    def theirs(x):
        data, cells = pyro.plate("data", len(x)), pyro.plate("cells", 2)
        with data:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with cells:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x.expand(2, len(x)))

    return theirs, guide


# Handlers ---------------------------------------------------------------------------------------------------


def conditioned():
    def free(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0))

    return (lambda x: poutine.condition(free, data={"x": x})(x)), guide


def intervened():
    def theirs(x):
        with pyro.plate("data", len(x)):
            cause = pyro.sample("cause", dist.Normal(5.0, 1.0))
            z = pyro.sample("z", dist.Normal(cause, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return (lambda x: poutine.do(theirs, data={"cause": x.new_zeros(len(x))})(x)), guide


def reparametrised():
    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.4))
        with pyro.plate("data", len(x)):
            pyro.sample("z_decentered", dist.Normal(slope * x, 0.8))

    return poutine.reparam(model, config={"z": LocScaleReparam(0.0)}), ours


def lifted():
    def theirs(x):
        loading = pyro.param("loading", torch.tensor(1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(loading * z, 1.0), obs=x)

    return poutine.lift(theirs, prior={"loading": dist.Normal(1.0, 0.1)}), guide


# Shapes, supports -------------------------------------------------------------------------------------------


def wide_guide():
    """A head [N, 1] that nobody squeezed."""

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.4))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x.unsqueeze(-1), 0.8))

    return model, ours


def normal_for_positive():
    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x, 0.9))

    return log_normal()[0], ours


def narrow_guide():
    def ours(x):
        a = pyro.param("a", torch.tensor(2.0), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Beta(a, 2.0 + 0.0 * x))

    return gamma_model, ours


# The table --------------------------------------------------------------------------------------------------

WIDE = real(2 * N, 3).view(N, 2)
GAMMA = by_quadrature(lambda z: stats.gamma(2).pdf(z), gaussian, 1e-9, 40)
NO_KL = "no closed-form KL|auxiliary|no reparameterised"
NO_REVERSE = r"site 'a' is in the guide but not in the model.*reverse model"
NO_POINT = "site 'z': the guide (is a point mass|has one value only)"
SUBSAMPLED = "the data plate takes 5 of 12 data"

PROGRAMS = {
    "plain": Row(plain, X, normal_evidence),
    "plate of another name": Row(other_plate, X, normal_evidence),
    "modules": Row(lambda: (Loading(), Linear()), X, normal_evidence),
    "methods of a module": Row(methods, X, normal_evidence),
    "PyroModule": Row(lambda: (model, PyroLinear()), X, normal_evidence),
    "pyro.module": Row(registered, X, normal_evidence),
    "keywords": Row(keywords, X, normal_evidence),
    "expanded": Row(expanded, X, normal_evidence),
    "double data": Row(plain, X.double(), normal_evidence),
    "deterministic": Row(deterministic, X, normal_evidence),
    "factor": Row(factor, X, by_quadrature(lambda z: stats.norm().pdf(z) * np.exp(-0.5 * z**2), gaussian, -12, 12)),
    "factor in the guide": Row(factor_in_guide, X, refused=refused("site 'more' is a factor of the guide")),
    "two observed sites": Row(two_observed, X, two_observed_evidence),
    "chain in another order": Row(chained, X, lambda x: normal_evidence(x, scale=3**0.5)),
    "nested events": Row(nested_event, real(6 * N, 1).view(N, 2, 3), nested_evidence),
    "full covariance": Row(full_covariance, WIDE, pairs_evidence),
    "Bernoulli": Row(bernoulli, X, mixture_evidence([0.7, 0.3], [0, 2]), estimator="score-function"),
    "Categorical": Row(categorical, X, mixture_evidence([0.5, 0.2, 0.3], [-2, 0, 2]), estimator="rloo"),
    "LogNormal": Row(log_normal, POSITIVE, by_quadrature(stats.lognorm(0.5).pdf, gaussian, 1e-9, 60)),
    "Gamma and integer counts": Row(gamma_poisson, COUNTS, gamma_poisson_evidence),
    "Beta": Row(beta, X, by_quadrature(stats.beta(2, 3).pdf, gaussian, 0, 1)),
    "transformed": Row(transformed, X, normal_evidence),
    "flow without an inverse": Row(flow, WIDE, pairs_evidence),
    "straight-through": Row(straight_through, X, mixture_evidence(*([[1 - 0.549834, 0.549834], [-1, 1]]))),
    "straight-through, one-hot": Row(straight_through_one_hot, X, mixture_evidence([1 / 3] * 3, [-1, 0, 2])),
    "AutoNormal": Row(auto(AutoNormal, gamma_model, POSITIVE, init_scale=0.4), POSITIVE, GAMMA),
    "AutoNormal, real": Row(auto(AutoNormal, model, X, init_scale=0.7), X, normal_evidence),
    "AutoNormalMessenger": Row(auto(AutoNormalMessenger, gamma_model, POSITIVE, init_scale=0.4), POSITIVE, GAMMA),
    "a GuideMessenger": Row(messenger, X, normal_evidence),
    "AutoNormal, simplex": Row(auto(AutoNormal, simplex(), X, init_scale=0.7), X),
    "Delta with its volume": Row(by_hand(lambda a: -a), POSITIVE, GAMMA),
    "Delta with its volume, to_event": Row(by_hand_in_events, POSITIVE, GAMMA),
    "Delta without its volume": Row(
        by_hand(lambda a: 0.0 * a), POSITIVE, refused=refused("site 'z': the log_density of its Delta is")
    ),
    "AutoDelta": Row(auto(AutoDelta, model, X), X, refused=refused(NO_POINT)),
    "AutoLaplaceApproximation": Row(auto(AutoLaplaceApproximation, model, X), X, refused=refused(NO_POINT)),
    "AutoDiagonalNormal": Row(
        auto(AutoDiagonalNormal, model, X),
        X,
        refused=refused("site '_AutoDiagonalNormal_latent' draws the latents of all data", "log_evidence"),
    ),
    "auxiliary": Row(auxiliary, X, refused=refused(NO_REVERSE)),
    "auxiliary with a reverse model": Row(with_reverse_model, X, normal_evidence),
    "point": Row(points, X, refused=refused(NO_POINT)),
    "scaled alike": Row(
        scaled(0.1, 0.1), X, normal_evidence, plain, refused("site 'z' is scaled by poutine.scale", "compare")
    ),
    "scaled likelihood": Row(
        scaled_likelihood, X, normal_evidence, plain, refused("site 'x' is scaled by poutine.scale", "compare")
    ),
    "scaled on one side": Row(scaled(4.0, 1.0), X, refused=refused("site 'z' is scaled by 1.0 in the guide")),
    "masked data": Row(masked(ALL, HALF), X, half_evidence),
    "masked distribution": Row(masked_distribution, X, half_evidence),
    "masked rows": Row(masked(HALF, HALF), X, half_evidence),
    "masked latent": Row(masked(HALF, ALL), X, refused=refused("site 'z' is masked for data whose 'x' is not")),
    "masked on one side": Row(masked(ALL, HALF, HALF), X, refused=refused("site 'z' is masked differently")),
    "obs_mask": Row(partly_observed, X, half_evidence),
    "obs_mask beside q.mask": Row(masked_otherwise, X, half_evidence),
    "subsampled": Row(subsampled, X, refused=refused(SUBSAMPLED)),
    "batch of more": Row(batch_of_more, X, normal_evidence, plain),
    "parameters of each datum": Row(per_datum, X, normal_evidence),
    "global latent": Row(global_latent, X),
    "no plate": Row(no_plate, X, refused=refused("site 'z' stands in no plate")),
    "two plates": Row(unnamed_dim, X, both_alike_evidence, nesting=2),
    "condition": Row(conditioned, X, normal_evidence),
    "do": Row(intervened, X, refused=refused("site 'cause' is latent in the model but missing from the guide")),
    "reparam": Row(reparametrised, X, normal_evidence),
    "lift": Row(lifted, X, refused=refused("site 'loading' is latent in the model but missing")),
    "data [N, 1]": Row(plain, X.unsqueeze(-1), refused=refused("[Ss]hape|values of shape")),
    "head [N, 1]": Row(wide_guide, X, refused=refused("[Ss]hape")),
    "as many coordinates as data": Row(plain, real(N * N).view(N, N), refused=refused("[Ss]hape|values of shape")),
    "Normal for LogNormal": Row(
        normal_for_positive,
        POSITIVE,
        refused=refused(r"site 'z': the guide draws values outside the support of the prior \(positive\)"),
    ),
    "negative counts": Row(
        gamma_poisson,
        COUNTS - 1,
        refused=refused("site 'x': the data hold values outside the support of its Poisson"),
    ),
    "guide on a part": Row(
        narrow_guide,
        POSITIVE,
        refused=refused("site 'z': the guide's support is unit interval", "log_evidence", "importance", "compare"),
    ),
}
