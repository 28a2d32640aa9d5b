"""Recipes whose prior is learned from the codes of a VAE that does not see it: two stages in one run.

Ghosh et al. 2020, https://arxiv.org/abs/1903.12436; Dai & Wipf 2019, https://arxiv.org/abs/1903.05789;
Xiao et al. 2019, https://arxiv.org/abs/1905.10485; Uria et al. 2013, https://arxiv.org/abs/1306.0186;
Germain et al. 2015, https://arxiv.org/abs/1502.03509; Aneja et al. 2021, https://arxiv.org/abs/2010.02917;
Rombach et al. 2022, https://arxiv.org/abs/2112.10752; Song et al. 2021, https://arxiv.org/abs/2011.13456.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppl_vae.inference import Beta, SecondStage, get_elbo
from ppl_vae.models import VAE
from ppl_vae.recipes.recipe import Row


def two_stages(
    vae: VAE, estimator: str = "analytic-kl", num_particles: int = 1, first_beta: float = 1.0
) -> SecondStage:
    """Train by the bound under N(0, I), and the prior by its own loss at the codes.

    The less the first stage's KL weighs, the more it leaves to the prior, and the more of each datum a code holds.
    """
    first = get_elbo(estimator, num_particles=num_particles)
    return SecondStage(first if first_beta == 1 else Beta(first, first_beta), vae.model.prior)


CODE_PRIORS: Mapping[str, Row] = {
    "latent-mixture-vae": Row(
        "two stages: a VAE under N(0, I), and a mixture of Gaussians for its codes",
        "Dai & Wipf 2019; Ghosh, Sajjadi, Vergari, Black & Schoelkopf 2020",
        {"latent_dim": 8, "prior": "mixture"},
        elbo=two_stages,
    ),
    "latent-flow-vae": Row(
        "two stages: a VAE under N(0, I), and a normalising flow for its codes, whose gradient stops at them",
        "Xiao, Yan & Amit 2019",
        {"latent_dim": 8, "prior": {"name": "flow", "kind": "coupling", "num_transforms": 4}},
        elbo=two_stages,
    ),
    "latent-autoregressive-vae": Row(
        "two stages: a VAE under N(0, I), and a mixture for every coordinate of its codes given those before",
        "Uria, Murray & Larochelle 2013; Germain, Gregor, Murray & Larochelle 2015",
        {"latent_dim": 8, "prior": "autoregressive"},
        elbo=two_stages,
    ),
    "ncp-vae": Row(
        "two stages: a VAE under N(0, I), which is then reweighted by a classifier that tells codes from its draws",
        "Aneja, Schwing, Kautz & Vahdat 2021",
        {"latent_dim": 8, "prior": "noise-contrastive"},
        elbo=two_stages,
    ),
    "latent-diffusion-vae": Row(
        "two stages: a VAE under N(0, I), and a diffusion of its codes with the exact density of its flow",
        "Rombach, Blattmann, Lorenz, Esser & Ommer 2022; Song et al. 2021",
        {"latent_dim": 8, "prior": "diffusion"},
        elbo=two_stages,
    ),
}
