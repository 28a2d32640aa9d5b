"""Recipes of autoencoders: a guide that is a point and no prior, or an encoder that sees noise.

Hinton & Salakhutdinov 2006, https://doi.org/10.1126/science.1127647; Vincent et al. 2008,
https://doi.org/10.1145/1390156.1390294; Im et al. 2017, https://arxiv.org/abs/1511.06406; Ghosh et al. 2020,
https://arxiv.org/abs/1903.12436; Makhzani et al. 2015, https://arxiv.org/abs/1511.05644; Larsen et al. 2016,
https://arxiv.org/abs/1512.09300; Shen & Meinshausen 2024, https://arxiv.org/abs/2404.13649.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from ppl_vae.inference import (
    AdversarialImages,
    AdversarialPrior,
    CodeNorm,
    DecoderGradient,
    DecoderNorm,
    EnergyScore,
    ReconstructionLikelihood,
    SparseActivations,
)
from ppl_vae.models import VAE
from ppl_vae.recipes.recipe import Row


def sparse_objective(target: float = 0.05, weight: float = 0.3) -> SparseActivations:
    """Train by the reconstruction, with every code unit held at a small mean activation."""
    return SparseActivations(ReconstructionLikelihood(), target, weight)


def code_and_decoder_norm(vae: VAE, code_weight: float = 0.1, decoder_weight: float = 1e-3) -> DecoderNorm:
    """Train by the reconstruction, with codes and the decoder's weights held small."""
    return DecoderNorm(CodeNorm(ReconstructionLikelihood(), code_weight), vae.model.decoder, decoder_weight)


def code_norm_and_gradient(code_weight: float = 0.1, gradient_weight: float = 0.1) -> DecoderGradient:
    """Train by the reconstruction, with codes held small and the decoder smooth at them."""
    return DecoderGradient(CodeNorm(ReconstructionLikelihood(), code_weight), gradient_weight)


def adversarial_codes(
    gamma: float = 1.0, hidden: Sequence[int] = (128, 128), discriminator_lr: float | None = 1e-3
) -> AdversarialPrior:
    """Train by the reconstruction, with codes that a discriminator cannot tell from the prior's draws."""
    return AdversarialPrior(ReconstructionLikelihood(), gamma, hidden, discriminator_lr)


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
    "rae-l2": Row(
        "a regularised autoencoder: codes and decoder weights held small, a density fitted to the codes afterwards",
        "Ghosh, Sajjadi, Vergari, Black & Schoelkopf 2020",
        AUTOENCODER,
        elbo=code_and_decoder_norm,
    ),
    "rae-gp": Row(
        "a regularised autoencoder: codes held small, the decoder's derivative at them too",
        "Ghosh, Sajjadi, Vergari, Black & Schoelkopf 2020",
        AUTOENCODER,
        elbo=code_norm_and_gradient,
    ),
    "adversarial-autoencoder": Row(
        "no KL at all: a discriminator holds the codes of all data together to the prior",
        "Makhzani et al. 2015",
        {"latent_dim": 8},
        elbo=adversarial_codes,
    ),
    "vae-gan": Row(
        "reconstructions compared in the features of a discriminator of images, beside their pixels, and a KL",
        "Larsen, Soenderby, Larochelle & Winther 2016",
        {"latent_dim": 8},
        # The paper has no pixels, and 25 million steps of large images; here features alone learn no digit.
        elbo=functools.partial(AdversarialImages, "analytic-kl", pixels=1.0, discriminator_lr=5e-4),
    ),
    "energy-autoencoder": Row(
        "the law of the data given their code, learned by the energy score of draws, not by a likelihood",
        "Shen & Meinshausen 2024",
        {**AUTOENCODER, "latent_dim": 8, "likelihood": {"name": "gaussian", "sigma": "learned"}},
        elbo=EnergyScore,
    ),
    "denoising-vae": Row(
        "a VAE whose encoder sees 30% of the pixels masked",
        "Im, Ahn, Memisevic & Bengio 2017",
        {"latent_dim": 20, "network": "denoising"},
    ),
}
