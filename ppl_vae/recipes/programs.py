"""Recipes of programs with latents of their own: hierarchies, categories, clusters."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ppl_vae.inference import Annealed, Enumeration, GumbelSoftmax, MonteCarloKL, Objective, get_elbo, schedules
from ppl_vae.models import CategoricalVAE, GaussianMixtureVAE, HierarchicalVAE, JointVAE, LadderVAE
from ppl_vae.recipes.recipe import Row


def warmed_up(estimator: str = "analytic-kl", num_particles: int = 1, steps: int = 5000) -> Annealed:
    """The KL weight rises linearly from 0 to 1 over ``steps`` steps, so that no level is dropped at once."""
    return Annealed(get_elbo(estimator, num_particles=num_particles), schedules.linear(steps))


def discrete_objective(
    vae: Any, estimator: str = "enumeration", num_particles: int = 1, temperature: float = 0.5
) -> Objective:
    """What trains a discrete site: "enumeration", "gumbel-softmax", or a score function such as "rloo"."""
    if estimator == "enumeration":
        return Enumeration(vae.num_configurations)
    if estimator == "gumbel-softmax":
        return GumbelSoftmax(num_particles, temperature)
    return get_elbo(estimator, num_particles=num_particles)


PROGRAMS: Mapping[str, Row] = {
    "hierarchical-vae": Row(
        "two levels of Gaussian latents, the guide drawn from the data upwards",
        "Rezende, Mohamed & Wierstra 2014; Burda, Grosse & Salakhutdinov 2016",
        {"latent_dims": (20, 10)},
        elbo=MonteCarloKL,
        program=HierarchicalVAE,
    ),
    "ladder-vae": Row(
        "two levels of Gaussian latents, the guide drawn from the top downwards and sharing the model's arrows",
        "Sonderby et al. 2016",
        {"latent_dims": (20, 10)},
        elbo=warmed_up,
        program=LadderVAE,
    ),
    "categorical-vae": Row(
        "many categorical latents, relaxed; or few, summed out",
        "Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017",
        {"num_variables": 20, "num_categories": 10},
        elbo=functools.partial(discrete_objective, estimator="gumbel-softmax"),
        program=CategoricalVAE,
    ),
    "joint-vae": Row(
        "a category, summed out, beside a continuous code",
        "Dupont 2018",
        {"latent_dim": 2, "num_categories": 10},
        elbo=discrete_objective,
        program=JointVAE,
    ),
    "gaussian-mixture-vae": Row(
        "clustering: the component of a Gaussian mixture is a latent, summed out",
        "Dilokthanakul et al. 2016; Jiang et al. 2017",
        {"latent_dim": 8, "num_categories": 10},
        elbo=discrete_objective,
        program=GaussianMixtureVAE,
    ),
}
