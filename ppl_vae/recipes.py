"""Recipes: named points on the three axes (generative model, guide, objective), one row of a table each."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference import AnalyticKL, Beta, Objective, get_elbo
from ppl_vae.inference.settings import Settings
from ppl_vae.models import VAE


@dataclass(frozen=True)
class Recipe:
    """A model, the objective that trains it, and the settings of its paper; ``pv.fit(recipe, data)`` uses all."""

    name: str
    vae: VAE
    elbo: Objective
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One recipe of the table.

    Attributes:
        summary: what it is, in one line.
        paper: where it comes from.
        parts: arguments of VAE.
        elbo: makes the objective from its options.
        settings: arguments of fit.
    """

    summary: str
    paper: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    elbo: Callable[..., Objective] = AnalyticKL
    settings: Mapping[str, Any] = field(default_factory=dict)


def beta_objective(beta: float = 4.0, estimator: str = "analytic-kl", num_particles: int = 1) -> Beta:
    """A weight on the KL of any estimator."""
    return Beta(get_elbo(estimator, num_particles=num_particles), beta)


# Keras's Adam: its epsilon is ten times torch's.
KERAS_ADAM = functools.partial(torch.optim.Adam, eps=1e-7, fused=True)

RECIPES: Mapping[str, Row] = {
    "vae": Row(
        "Gaussian guide and prior, one hidden layer of 400 units, closed-form KL",
        "Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014",
        {"latent_dim": 20},
    ),
    "conv-vae": Row(
        "two strided convolutions and their transposes, 2-d latent space",
        "Chollet, Keras examples: convolutional VAE",
        {"latent_dim": 2, "network": "conv", "likelihood": "bernoulli-relaxed"},
        settings={"epochs": 30, "batch_size": 32, "optimizer": KERAS_ADAM, "patience": 2},
    ),
    "tiny-conv-vae": Row(
        "2x2 convolutions for 3x3 images, variance by softplus, 25 decoder draws per encoder pass",
        "a three-by-three VAE written out in NumPy",
        {
            "latent_dim": 2,
            "network": "conv-tiny",
            "likelihood": {"name": "gaussian", "sigma": 0.3},
            "posterior": {"name": "diagonal", "scale": "softplus-variance"},
        },
        elbo=functools.partial(AnalyticKL, num_particles=25),
        settings={"epochs": 4000, "batch_size": 4, "lr": 5e-3},
    ),
    "full-covariance-vae": Row(
        "a guide whose Gaussian has a full covariance matrix",
        "Kingma & Welling 2014, appendix B; Opper & Archambeau 2009",
        {"latent_dim": 20, "posterior": "full-covariance"},
    ),
    "continuous-bernoulli-vae": Row(
        "grey pixels under a normalised likelihood on [0, 1]",
        "Loaiza-Ganem & Cunningham 2019",
        {"latent_dim": 20, "likelihood": "continuous-bernoulli"},
    ),
    "beta-vae": Row(
        "a weight beta on the KL, for disentanglement (beta > 1) or sharper reconstructions (beta < 1)",
        "Higgins et al. 2017",
        {"latent_dim": 10},
        elbo=beta_objective,
    ),
}


def list_recipes() -> list[str]:
    """The names that ``make`` knows."""
    return list(RECIPES)


def make(name: str, event_shape: tuple[int, ...], **options: Any) -> Recipe:
    """Make a recipe for data of a shape.

    Args:
        name: one of ``list_recipes()``.
        event_shape: the shape of one datum.
        **options: whatever shall differ from the row: arguments of VAE (latent_dim, network, likelihood,
            prior, posterior, seed), of the objective (beta, num_particles, ...), and of fit (epochs, lr, ...).
            ``elbo=`` takes another estimator or objective in place of the row's.

    Raises:
        ModelError: the recipe or an option is unknown.
    """
    if name not in RECIPES:
        raise ModelError(unknown_name("recipe", name, RECIPES))
    row = RECIPES[name]
    names = option_names(name)
    for option in options:
        if not any(option in group for group in names.values()):
            known = [known for group in names.values() for known in group]
            raise ModelError(f"recipe {name!r}: {unknown_name('option', option, known)}")
    chosen = {kind: {k: v for k, v in options.items() if k in group} for kind, group in names.items()}
    settings = {**row.settings, **chosen["settings"]}
    elbo = settings.pop("elbo", None)
    if elbo is not None and chosen["objective"] and not isinstance(elbo, str):
        raise ModelError(
            f"recipe {name!r}: {sorted(chosen['objective'])} are options of the objective that elbo= replaces"
        )
    objective = (
        row.elbo if elbo is None else functools.partial(get_elbo, elbo) if isinstance(elbo, str) else lambda: elbo
    )
    return Recipe(
        name,
        VAE(event_shape, **{**row.parts, **chosen["parts"]}),
        objective(**chosen["objective"]),
        settings,
    )


def option_names(name: str) -> dict[str, tuple[str, ...]]:
    """The options of a recipe by what they set: "parts" of the model, the "objective", "settings" of fit."""
    parts = tuple(p for p in inspect.signature(VAE).parameters if p != "event_shape")
    objective = tuple(inspect.signature(RECIPES[name].elbo).parameters)
    return {"parts": parts, "objective": objective, "settings": tuple(f.name for f in fields(Settings))}
