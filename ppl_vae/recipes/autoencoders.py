"""Recipes of autoencoders: a guide that is a point and no prior, or an encoder that sees noise.

Hinton & Salakhutdinov 2006, https://doi.org/10.1126/science.1127647; Vincent et al. 2008,
https://doi.org/10.1145/1390156.1390294; Im et al. 2017, https://arxiv.org/abs/1511.06406.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppl_vae.inference import ReconstructionLikelihood, SparseActivations
from ppl_vae.recipes.recipe import Row


def sparse_objective(target: float = 0.05, weight: float = 0.3) -> SparseActivations:
    """Train by the reconstruction, with every code unit held at a small mean activation."""
    return SparseActivations(ReconstructionLikelihood(), target, weight)


# A guide that is a point and no prior to speak of.
AUTOENCODER = {"latent_dim": 20, "prior": "flat", "posterior": "point"}

AUTOENCODERS: Mapping[str, Row] = {
    "autoencoder": Row(
        "deterministic: a guide that is a point, no prior, the reconstruction log likelihood",
        "Rumelhart, Hinton & Williams 1986; Hinton & Salakhutdinov 2006",
        AUTOENCODER,
        elbo=ReconstructionLikelihood,
    ),
    "denoising-autoencoder": Row(
        "an autoencoder that sees 30% of the pixels masked and restores them",
        "Vincent et al. 2008",
        {**AUTOENCODER, "network": "denoising"},
        elbo=ReconstructionLikelihood,
    ),
    "sparse-autoencoder": Row(
        "an autoencoder with many sigmoid code units, few of them active at a time",
        "Ng 2011; Lee, Ekanadham & Ng 2008",
        {**AUTOENCODER, "latent_dim": 100, "posterior": {"name": "point", "code": "sigmoid"}},
        elbo=sparse_objective,
    ),
    "denoising-vae": Row(
        "a VAE whose encoder sees 30% of the pixels masked",
        "Im, Ahn, Memisevic & Bengio 2017",
        {"latent_dim": 20, "network": "denoising"},
    ),
}
