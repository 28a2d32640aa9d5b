"""Pairs and tables that the tests of the estimator laboratory share."""

import numpy as np
import pyro
import torch
import xarray as xr
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from tests.scenarios import draw_data, linear_gaussian

ELBO_NAMES = ("analytic-kl", "monte-carlo-kl", "entropy", "sticking-the-landing", "score-function", "rloo")


def off_optimum(guide="mean-field", n=3):
    """A small LinearGaussianVAE whose guide is off its optimum, and data of its own."""
    lg = linear_gaussian(seed=1, data_dim=4, latent_dim=2, guide=guide)
    if guide == "mean-field":
        with torch.no_grad():
            lg.guide.posterior.offset += 0.3
            lg.guide.posterior.log_scale += 0.2
    return lg, draw_data(lg, n)


def parameters_apart(lg):
    """Every parameter a group of its own."""
    posterior = lg.guide.posterior
    return {"gain": [posterior.gain], "offset": [posterior.offset], "log_scale": [posterior.log_scale]}


def compare(pair, x, *args, **options):
    """Without a progress bar, 50 repeats."""
    return pv.compare_estimators(pair, x, *args, **{"num_repeats": 50, "progress": False, **options})


class CategoricalPair(nn.Module):
    """y of four categories, x | y ~ N(mean_y, 1); site "label"."""

    def __init__(self, size=4, data_dim=2, kind="categorical"):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.means = nn.Parameter(torch.randn(size, data_dim, generator=generator, dtype=torch.float64))
        self.prior = nn.Parameter(torch.randn(size, generator=generator, dtype=torch.float64))
        self.encoder = nn.Linear(data_dim, size, dtype=torch.float64)
        with torch.no_grad():
            for parameter in self.encoder.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        self.kind = kind

    def distribution(self, logits):
        kind = dist.OneHotCategorical if self.kind == "one-hot" else dist.Categorical
        return kind(logits=logits)

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("label", self.distribution(self.prior.expand(len(x), -1)))
            loc = y @ self.means if self.kind == "one-hot" else self.means[y]
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("label", self.distribution(self.encoder(x)))

    def exact_elbo(self, x):
        """By summing over the categories: [N]."""
        log_q = self.encoder(x).log_softmax(-1)
        log_likelihood = dist.Normal(self.means, 1.0).to_event(1).log_prob(x.unsqueeze(1))
        return (log_q.exp() * (log_likelihood + self.prior.log_softmax(-1) - log_q)).sum(-1)


def made_table(**changes):
    """A table with numbers of our choice: two estimators of the ELBO and iwae, an encoder and a decoder."""
    by_name = {
        "value": [-10.0, -10.0, -9.0], "value_stderr": [0.1] * 3, "value_variance": [1.0] * 3,
        "bias_elbo": [0.0, 0.05, 1.0], "bias_elbo_stderr": [0.1] * 3,
        "bias_evidence": [-2.0, -2.0, -1.0], "bias_evidence_stderr": [0.1] * 3,
        "milliseconds": [1.0, 2.0, 5.0], "milliseconds_stderr": [0.01] * 3,
        "num_draws": [1, 1, 5], "of_elbo": [True, True, False], "vectorised": [True] * 3,
    }  # fmt: skip
    by_group = {
        "gradient_variance": [[8.0, 1.0], [1.0, 1.0], [4.0, 0.2]], "snr": [[0.5, 2.0], [1.5, 2.0], [0.4, 4.0]],
        "cost": [[8.0, 1.0], [2.0, 2.0], [20.0, 1.0]],
    }  # fmt: skip
    variables = {name: ("estimator", values) for name, values in by_name.items()}
    variables |= {name: (("estimator", "group"), values) for name, values in by_group.items()}
    variables["of_guide"] = ("group", [True, False])
    variables["target"] = ("estimator", ["elbo", "elbo", "evidence"])
    variables["side"] = ("estimator", ["lower"] * 3)
    variables["gradient_rounding"] = ("group", [1e-9, 1e-9])
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(3, 10_000)) * 0.1 + np.array(by_name["value"])[:, None]
    variables["draw"] = (("estimator", "repeat"), draws)
    # Of gradients of one coordinate, normal and independent of each other.
    distance = rng.normal(size=(3, 2, 10_000)) ** 2
    variables["gradient_distance"] = (("estimator", "group", "repeat"), distance)
    for name, values in changes.items():
        variables[name] = (variables[name][0], values)
    attributes = {
        "elbo": -10.0, "elbo_stderr": 0.0, "elbo_reference": "closed form", "evidence": -8.0, "rounding": 1e-9,
        "evidence_stderr": 0.0, "evidence_reference": "closed form", "num_data": 7, "repeats": 10_000,
    }  # fmt: skip
    names = ["analytic-kl", "sticking-the-landing", "iwae"]
    return xr.Dataset(variables, {"estimator": names, "group": ["encoder", "decoder"]}, attributes)
