"""Recipes that weight the terms of the ELBO, or add one on the aggregate posterior.

Burgess et al. 2018, https://arxiv.org/abs/1804.03599; Fu et al. 2019, https://arxiv.org/abs/1903.10145;
Kingma et al. 2016, https://arxiv.org/abs/1606.04934; Chen et al. 2018, https://arxiv.org/abs/1802.04942;
Kim & Mnih 2018, https://arxiv.org/abs/1802.05983; Kumar et al. 2018, https://arxiv.org/abs/1711.00848;
Zhao et al. 2019, https://arxiv.org/abs/1706.02262; Tolstikhin et al. 2018, https://arxiv.org/abs/1711.01558.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ppl_vae.inference import DIP, MMD, Annealed, Beta, Capacity, DensityRatio, FreeBits, TotalCorrelation, get_elbo
from ppl_vae.inference.objectives import schedules
from ppl_vae.recipes.recipe import Row
from ppl_vae.renamed import renamed


def beta_objective(beta: float = 4.0, estimator: str = "analytic-kl", num_particles: int = 1) -> Beta:
    """Weight the KL of any estimator by beta."""
    return Beta(get_elbo(estimator, num_particles=num_particles), beta)


@renamed(steps="num_steps")
def rising_capacity(gamma: float = 1000.0, capacity: float = 25.0, num_steps: int = 100_000) -> Capacity:
    """Raise the capacity linearly from 0 to ``capacity`` nats in ``num_steps`` optimiser steps."""
    return Capacity("analytic-kl", gamma, schedules.linear(num_steps, 0.0, capacity))


@renamed(steps="num_steps")
def cycles(num_steps: int = 40_000, num_cycles: int = 4, ramp: float = 0.5) -> Annealed:
    """Anneal the KL weight in cycles over ``num_steps`` optimiser steps."""
    return Annealed("analytic-kl", schedules.cyclical(num_steps, num_cycles, ramp))


WEIGHTINGS: Mapping[str, Row] = {
    "beta-vae": Row(
        "a weight beta on the KL, for disentanglement (beta > 1) or sharper reconstructions (beta < 1)",
        "Higgins et al. 2017",
        {"latent_dim": 10},
        elbo=beta_objective,
    ),
    "annealed-beta-vae": Row(
        "the KL held at a capacity that rises from zero",
        "Burgess et al. 2018",
        {"latent_dim": 10},
        elbo=rising_capacity,
        settings={"lr": 5e-4, "batch_size": 64},
    ),
    "cyclical-vae": Row(
        "a KL weight that rises from zero several times over",
        "Fu et al. 2019",
        {"latent_dim": 20},
        elbo=cycles,
    ),
    "free-bits-vae": Row(
        "every latent dimension may use some nats for free",
        "Kingma et al. 2016",
        {"latent_dim": 20},
        elbo=functools.partial(FreeBits, "analytic-kl", floor=0.1),
    ),
    "beta-tc-vae": Row(
        "a weight on the total correlation of the aggregate posterior alone; needs num_data",
        "Chen et al. 2018",
        {"latent_dim": 10},
        elbo=functools.partial(TotalCorrelation, "monte-carlo-kl"),
    ),
    "factor-vae": Row(
        "a weight on the total correlation, told by a discriminator that is trained along",
        "Kim & Mnih 2018",
        {"latent_dim": 10},
        # Not all of it is the paper's. It trains for 300,000 steps at a rate of 1e-4, against six layers of 1000
        # units and with a gamma of 35 for its 2D Shapes: a run of minutes ends before the latents are used at all.
        # The discriminator's rate and batches are the paper's, gamma is what it takes for faces.
        elbo=functools.partial(DensityRatio, "analytic-kl", gamma=6.4, hidden=(300,) * 6, discriminator_lr=1e-4),
        settings={"lr": 1e-3, "batch_size": 64},
    ),
    "dip-vae-i": Row(
        "the covariance of the guide's means held near the identity",
        "Kumar, Sattigeri & Balakrishnan 2018",
        {"latent_dim": 10},
        elbo=functools.partial(DIP, "analytic-kl", kind="i"),
    ),
    "dip-vae-ii": Row(
        "the covariance of the aggregate posterior held near the identity",
        "Kumar, Sattigeri & Balakrishnan 2018",
        {"latent_dim": 10},
        elbo=functools.partial(DIP, "analytic-kl", kind="ii", off_diagonal=10.0, diagonal=10.0),
    ),
    "info-vae": Row(
        "part of the KL replaced by the MMD between aggregate posterior and prior",
        "Zhao, Song & Ermon 2019",
        {"latent_dim": 10},
        elbo=functools.partial(MMD, "analytic-kl"),
    ),
    "wae-mmd": Row(
        "no KL at all, only the MMD between aggregate posterior and prior",
        "Tolstikhin et al. 2018",
        {"latent_dim": 10},
        elbo=functools.partial(MMD, "analytic-kl", alpha=1.0),
    ),
}
