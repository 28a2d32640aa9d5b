"""Recipes of several modalities, any of which may be missing.

Wu & Goodman 2018, https://arxiv.org/abs/1802.05335; Shi et al. 2019, https://arxiv.org/abs/1911.03393;
Sutter et al. 2021, https://arxiv.org/abs/2105.02470; Palumbo et al. 2023, https://openreview.net/forum?id=sdQGxouELX;
Senellart et al. 2023, https://arxiv.org/abs/2312.14085.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppl_vae.inference import DistilledConditionals, MonteCarloKL, PartlyHidden
from ppl_vae.models import MultimodalVAE
from ppl_vae.recipes.recipe import Row


def single_and_joint(vae: MultimodalVAE, num_particles: int = 1, weight: float = 1.0) -> PartlyHidden:
    """Train by the bound of whole data and by those of each modality alone."""
    return PartlyHidden(MonteCarloKL(num_particles), vae.blocks.single, weight)


def joint_and_flows(vae: MultimodalVAE, num_particles: int = 1) -> DistilledConditionals:
    """Train by the bound of whole data, and fit the flows of every proper set of modalities to the joint guide."""
    return DistilledConditionals(MonteCarloKL(num_particles), vae.blocks.proper_subsets)


SMALL = {"latent_dim": 8, "network": {"name": "mlp", "hidden": (128,), "activation": "relu"}}

MULTIMODAL: Mapping[str, Row] = {
    "mvae": Row(
        "several modalities, any of them missing: a product of experts, trained on whole data and on each alone",
        "Wu & Goodman 2018",
        {**SMALL, "fusion": "product"},
        elbo=single_and_joint,
        program=MultimodalVAE,
    ),
    "mmvae": Row(
        "several modalities: a mixture of experts, each of which has to explain all of them",
        "Shi, Siddharth, Paige & Torr 2019",
        {**SMALL, "fusion": "mixture"},
        elbo=MonteCarloKL,
        program=MultimodalVAE,
    ),
    "mopoe-vae": Row(
        "several modalities: a mixture of the products of all sets of experts",
        "Sutter, Daunhawer & Vogt 2021",
        {**SMALL, "fusion": "mixture-of-products"},
        elbo=MonteCarloKL,
        program=MultimodalVAE,
    ),
    "mmvae-plus": Row(
        "several modalities: a mixture of experts, with latents of each modality's own beside the shared ones",
        "Palumbo, Daunhawer & Vogt 2023",
        {**SMALL, "latent_dim": 6, "fusion": "mixture", "private_dim": 2},
        elbo=MonteCarloKL,
        program=MultimodalVAE,
    ),
    "jnf": Row(
        "several modalities: a joint encoder, and normalising flows for what is there, fitted to it",
        "Senellart, Chadebec & Allassonniere 2023",
        {**SMALL, "fusion": "joint-flow"},
        elbo=joint_and_flows,
        program=MultimodalVAE,
    ),
}
