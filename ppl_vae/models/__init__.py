"""Pyro programs and the parts they are made of."""

from ppl_vae.models.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
    Likelihood,
    RelaxedBernoulliLikelihood,
)
from ppl_vae.models.linear_gaussian import LinearGaussianVAE
from ppl_vae.models.load import load
from ppl_vae.models.posteriors import DiagonalPosterior, FullCovariancePosterior, LowRankPosterior
from ppl_vae.models.priors import DiagonalNormalPrior, MixturePrior, StandardNormalPrior
from ppl_vae.models.programs import GenerativeProgram, GuideProgram
from ppl_vae.models.vae import VAE
from ppl_vae.models.vamp_prior import VampPrior

__all__ = ["DiagonalNormalPrior","LowRankPosterior","MixturePrior","VampPrior",
    "VAE",
    "BernoulliLikelihood",
    "ContinuousBernoulliLikelihood",
    "DiagonalPosterior",
    "FullCovariancePosterior",
    "GaussianLikelihood",
    "GenerativeProgram",
    "GuideProgram",
    "Likelihood",
    "LinearGaussianVAE",
    "RelaxedBernoulliLikelihood",
    "StandardNormalPrior",
    "load",
]
