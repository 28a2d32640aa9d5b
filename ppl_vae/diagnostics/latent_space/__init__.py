"""The latent space: the aggregate posterior and its holes, disentanglement, arithmetic, codes as features."""

from ppl_vae.diagnostics.latent_space.aggregate import check_aggregate, run_aggregate
from ppl_vae.diagnostics.latent_space.arithmetic import check_arithmetic, run_arithmetic
from ppl_vae.diagnostics.latent_space.attribute_classifier import AttributeClassifier, fit_attribute_classifier
from ppl_vae.diagnostics.latent_space.feature_probe import run_feature_probe
from ppl_vae.diagnostics.latent_space.latent_holes import LatentHoles, check_latent_holes, run_latent_holes

__all__ = [
    "AttributeClassifier",
    "LatentHoles",
    "check_aggregate",
    "check_arithmetic",
    "check_latent_holes",
    "fit_attribute_classifier",
    "run_aggregate",
    "run_arithmetic",
    "run_feature_probe",
    "run_latent_holes",
]
