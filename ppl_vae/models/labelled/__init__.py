"""Programs with categories: class labels that are given, partly given, or latent."""

from ppl_vae.models.labelled.categorical_vae import CategoricalVAE
from ppl_vae.models.labelled.completion_baseline import CompletionBaseline
from ppl_vae.models.labelled.completion_vae import CompletionVAE
from ppl_vae.models.labelled.conditional_vae import ConditionalVAE
from ppl_vae.models.labelled.gaussian_mixture_vae import GaussianMixtureVAE
from ppl_vae.models.labelled.joint_vae import JointVAE
from ppl_vae.models.labelled.observed_category import PartlyObservedCategory
from ppl_vae.models.labelled.semi_supervised_vae import SemiSupervisedVAE

__all__ = [
    "CategoricalVAE",
    "CompletionBaseline",
    "CompletionVAE",
    "ConditionalVAE",
    "GaussianMixtureVAE",
    "JointVAE",
    "PartlyObservedCategory",
    "SemiSupervisedVAE",
]
