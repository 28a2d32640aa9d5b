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
from ppl_vae.models.posteriors import DiagonalPosterior, FullCovariancePosterior
from ppl_vae.models.priors import StandardNormalPrior
from ppl_vae.models.programs import GenerativeProgram, GuideProgram
from ppl_vae.models.vae import VAE

__all__ = [
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
