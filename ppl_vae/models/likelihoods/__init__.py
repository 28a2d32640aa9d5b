"""Likelihoods p(x|z): modules that turn decoder features into a distribution."""

from ppl_vae.models.likelihoods.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretisedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
    MissingPixels,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    RelaxedBernoulliLikelihood,
    StudentTLikelihood,
)
from ppl_vae.models.likelihoods.missingness import MissingnessEncoder

__all__ = [
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ContinuousBernoulliLikelihood",
    "DiscretisedLogisticLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "MissingPixels",
    "MissingnessEncoder",
    "NegativeBinomialLikelihood",
    "PoissonLikelihood",
    "RelaxedBernoulliLikelihood",
    "StudentTLikelihood",
]
