"""Priors p(z): modules whose forward returns a distribution."""

from ppl_vae.models.priors.flow_prior import FlowPrior
from ppl_vae.models.priors.priors import DiagonalNormalPrior, MixturePrior, StandardNormalPrior
from ppl_vae.models.priors.vamp_prior import VampPrior

__all__ = ["DiagonalNormalPrior", "FlowPrior", "MixturePrior", "StandardNormalPrior", "VampPrior"]
