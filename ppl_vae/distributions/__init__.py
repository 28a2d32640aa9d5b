"""Distributions that Pyro and torch lack, or have in a smaller range of parameters and data."""

from ppl_vae.distributions.beta import Beta
from ppl_vae.distributions.censored_normal import CensoredNormal
from ppl_vae.distributions.continuous_bernoulli import ContinuousBernoulli
from ppl_vae.distributions.coordinates import CompletedCoordinates, ObservedCoordinates
from ppl_vae.distributions.counts import NegativeBinomialCounts, PoissonCounts
from ppl_vae.distributions.flat import Flat
from ppl_vae.distributions.grey_levels import DiscretisedLogistic, GreyCategorical, GreyLevels
from ppl_vae.distributions.levels import Levels
from ppl_vae.distributions.log_normal import LogNormal
from ppl_vae.distributions.mixed import MixedBlocks
from ppl_vae.distributions.multinomial import MultinomialCounts
from ppl_vae.distributions.power_spherical import PowerSpherical
from ppl_vae.distributions.spherical_uniform import SphericalUniform
from ppl_vae.distributions.student_t import StudentT
from ppl_vae.distributions.von_mises import VonMises
from ppl_vae.distributions.von_mises_fisher import VonMisesFisher
from ppl_vae.distributions.wrapped_normal import WrappedNormal
from ppl_vae.distributions.zero_inflated import ZeroInflatedCounts

__all__ = [
    "Beta",
    "CensoredNormal",
    "CompletedCoordinates",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Flat",
    "GreyCategorical",
    "GreyLevels",
    "Levels",
    "LogNormal",
    "MixedBlocks",
    "MultinomialCounts",
    "NegativeBinomialCounts",
    "ObservedCoordinates",
    "PoissonCounts",
    "PowerSpherical",
    "SphericalUniform",
    "StudentT",
    "VonMises",
    "VonMisesFisher",
    "WrappedNormal",
    "ZeroInflatedCounts",
]
