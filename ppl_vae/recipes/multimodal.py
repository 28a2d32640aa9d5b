"""Recipes of several modalities, any of which may be missing, and from one kind of data to another.

Wu & Goodman 2018, https://arxiv.org/abs/1802.05335; Shi et al. 2019, https://arxiv.org/abs/1911.03393;
Sutter et al. 2021, https://arxiv.org/abs/2105.02470; Palumbo et al. 2023, https://openreview.net/forum?id=sdQGxouELX;
Senellart et al. 2023, https://arxiv.org/abs/2312.14085; Kalinin et al. 2021, https://doi.org/10.1021/acsami.0c15085.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ppl_vae.inference import AnalyticKL, Annealed, DistilledConditionals, MonteCarloKL, PartlyHidden
from ppl_vae.inference.objectives import schedules
from ppl_vae.models import EncoderDecoderVAE, MultimodalVAE
from ppl_vae.recipes.programs import warmed_up
from ppl_vae.recipes.recipe import Row

# At its full weight from the start the KL makes experts wide, and a wide one has no say in a product.
WARMUP_STEPS = 100


def single_and_joint(
    vae: MultimodalVAE, num_particles: int = 1, weight: float = 1.0, num_steps: int = WARMUP_STEPS
) -> Annealed:
    """Train by the bound of whole data and by those of each modality alone, the KL weight raised from 0 to 1."""
    bounds = PartlyHidden(AnalyticKL(num_particles), vae.blocks.single, weight)
    return Annealed(bounds, schedules.linear(num_steps, 0.0))


WARMED_UP = functools.partial(warmed_up, estimator="monte-carlo-kl", num_steps=WARMUP_STEPS)


def joint_and_flows(vae: MultimodalVAE, num_particles: int = 1) -> DistilledConditionals:
    """Train by the bound of whole data, and fit the flows of every proper set of modalities to the joint guide."""
    return DistilledConditionals(MonteCarloKL(num_particles), vae.blocks.proper_subsets)


NETWORK = {"name": "mlp", "hidden": (128,), "activation": "relu"}
SMALL = {"latent_dim": 8, "network": NETWORK}

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
        elbo=WARMED_UP,
        program=MultimodalVAE,
    ),
    "mopoe-vae": Row(
        "several modalities: a mixture of the products of all sets of experts",
        "Sutter, Daunhawer & Vogt 2021",
        {**SMALL, "fusion": "mixture-of-products"},
        elbo=WARMED_UP,
        program=MultimodalVAE,
    ),
    "mmvae-plus": Row(
        "several modalities: a mixture of experts, with latents of each modality's own beside the shared ones",
        "Palumbo, Daunhawer & Vogt 2023",
        {**SMALL, "latent_dim": 6, "fusion": "mixture", "private_dim": 2},
        elbo=WARMED_UP,
        program=MultimodalVAE,
    ),
    "jnf": Row(
        "several modalities: a joint encoder, and normalising flows for what is there, fitted to it",
        "Senellart, Chadebec & Allassonniere 2023",
        {**SMALL, "fusion": "joint-flow"},
        elbo=joint_and_flows,
        program=MultimodalVAE,
    ),
    "im2spec": Row(
        "from one kind of data to another, such as an image to a spectrum, the posterior of a code in between",
        "Kalinin, Kelley, Vasudevan & Ziatdinov 2021; Sohn, Lee & Yan 2015",
        {
            "latent_dim": 4,
            "network": NETWORK,
            "source_network": NETWORK,
            "likelihood": {"name": "gaussian", "sigma": "learned"},
        },
        settings={"lr": 5e-3, "batch_size": 64},
        program=EncoderDecoderVAE,
    ),
}
