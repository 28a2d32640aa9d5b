"""Guides of a linear-Gaussian model with one known fault each: the exact posterior N(m, V), wrong in one way.

x | z ~ N(W z + b, sigma^2 I) with W [5, 2]. Posterior standard deviations 0.51 and 0.60, correlation -0.70.
"""

from functools import cache

import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae.diagnostics.calibration.simulated_posteriors import simulate_posteriors

WEIGHT = torch.tensor([[1.5, 1.1], [-0.4, 0.5], [0.9, 0.6], [0.2, -0.3], [1.0, 1.0]], dtype=torch.float64)
BIAS = torch.tensor([0.5, -1.0, 0.0, 2.0, 0.3], dtype=torch.float64)
SIGMA = 0.8
NUM_SIMULATIONS, NUM_DRAWS = 1000, 99


class Faulty(nn.Module):
    """q(z|x) = N(m + shift sd, widen^2 V'), V' the posterior's V, its diagonal, 1 / diag(M), or the prior's I."""

    def __init__(self, shape="exact", widen=1.0, shift=0.0):
        super().__init__()
        precision = WEIGHT.mT @ WEIGHT / SIGMA**2 + torch.eye(2, dtype=torch.float64)
        self.exact = torch.linalg.inv(precision)
        self.gain = self.exact @ WEIGHT.mT / SIGMA**2
        self.shift, self.collapsed = shift * self.exact.diagonal().sqrt(), shape == "prior"
        shapes = {
            "exact": self.exact,
            "marginal": torch.diag(self.exact.diagonal()),
            "mean-field": torch.diag(1 / precision.diagonal()),
            "prior": torch.eye(2, dtype=torch.float64),
        }
        self.covariance = widen**2 * shapes[shape]

    def forward(self, features):
        loc = (features - BIAS) @ self.gain.mT + self.shift
        return dist.MultivariateNormal(torch.zeros_like(loc) if self.collapsed else loc, self.covariance)


FAULTS = {
    "exact": {},
    "narrow": {"widen": 0.7},
    "wide": {"widen": 1.4},
    "shifted": {"shift": 0.5},
    "mean-field": {"shape": "mean-field"},
    "marginal": {"shape": "marginal"},
    "collapsed": {"shape": "prior"},
}


def planted(fault):
    """The linear-Gaussian model under the guide with this fault."""
    return pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA, guide=Faulty(**FAULTS[fault]))


@cache
def simulated(fault):
    """Simulations of the model with draws from the guide with this fault, made once for all tests."""
    return simulate_posteriors(planted(fault), (5,), NUM_SIMULATIONS, NUM_DRAWS)
