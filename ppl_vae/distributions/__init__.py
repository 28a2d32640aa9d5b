"""Distributions that Pyro and torch lack, or have in a smaller range of parameters and data."""

from ppl_vae.distributions.continuous_bernoulli import ContinuousBernoulli
from ppl_vae.distributions.coordinates import CompletedCoordinates, ObservedCoordinates
from ppl_vae.distributions.counts import NegativeBinomialCounts, PoissonCounts
from ppl_vae.distributions.flat import Flat
from ppl_vae.distributions.grey_levels import DiscretisedLogistic, GreyCategorical, GreyLevels
from ppl_vae.distributions.student_t import StudentT

__all__ = [
    "CompletedCoordinates",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Flat",
    "GreyCategorical",
    "GreyLevels",
    "NegativeBinomialCounts",
    "ObservedCoordinates",
    "PoissonCounts",
    "StudentT",
]
