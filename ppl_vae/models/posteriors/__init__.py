"""Posteriors q(z|x): modules that turn encoder features into a distribution."""

from ppl_vae.models.posteriors.flow_posterior import FlowPosterior
from ppl_vae.models.posteriors.mixture_posterior import MixturePosterior
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior, FullCovariancePosterior, LowRankPosterior
from ppl_vae.models.posteriors.semi_amortised_posterior import SemiAmortisedPosterior

__all__ = [
    "DiagonalPosterior",
    "FlowPosterior",
    "FullCovariancePosterior",
    "LowRankPosterior",
    "MixturePosterior",
    "SemiAmortisedPosterior",
]
