"""The table of recipes, and ``make``, which makes one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference import Objective, get_elbo
from ppl_vae.inference.training.settings import Settings
from ppl_vae.models import VAE, ProgramPair
from ppl_vae.recipes.autoencoders import AUTOENCODERS
from ppl_vae.recipes.bounds import BOUNDS
from ppl_vae.recipes.code_priors import CODE_PRIORS
from ppl_vae.recipes.generative_models import GENERATIVE_MODELS
from ppl_vae.recipes.multimodal import MULTIMODAL
from ppl_vae.recipes.programs import PROGRAMS
from ppl_vae.recipes.recipe import Recipe, Row
from ppl_vae.recipes.sequences import SEQUENCES
from ppl_vae.recipes.weightings import WEIGHTINGS
from ppl_vae.renamed import current_names

RECIPES: Mapping[str, Row] = {
    **GENERATIVE_MODELS,
    **WEIGHTINGS,
    **BOUNDS,
    **PROGRAMS,
    **AUTOENCODERS,
    **MULTIMODAL,
    **CODE_PRIORS,
    **SEQUENCES,
}
"""All recipes by name."""


def list_recipes() -> list[str]:
    """List the names that ``make`` knows."""
    return list(RECIPES)


def make(name: str, event_shape: tuple[int, ...], data: Tensor | None = None, **options: Any) -> Recipe:
    """Make a recipe for data of a shape.

    Args:
        name: one of ``list_recipes()``.
        event_shape: the shape of one datum.
        data: [N, *event_shape], what parts that can start from data start from (see ``VAE.initialise``).
        **options: whatever shall differ from the row: arguments of its program (of VAE: latent_dim, network,
            likelihood, prior, posterior, seed), of the objective (beta, num_particles, ...), and of fit (epochs,
            lr, ...).
            ``elbo=`` takes another estimator or objective in place of the row's.

    Raises:
        ModelError: the recipe or an option is unknown, or an option is missing that the row has no value for.

    >>> recipe = make("beta-vae", (1, 8, 8), latent_dim=4, beta=16.0)
    >>> recipe.elbo
    Beta(
      beta=16.0
      (weighted): AnalyticKL(num_particles=1)
    )
    """
    if name not in RECIPES:
        raise ModelError(unknown_name("recipe", name, RECIPES))
    row, groups = RECIPES[name], option_names(name)
    options = current_names(row.elbo, options)
    known = [option for group in groups.values() for option in group]
    for option in options:
        if option not in known:
            raise ModelError(f"recipe {name!r}: {unknown_name('option', option, known)}")
    parts, objective, settings = (
        {option: value for option, value in options.items() if option in groups[kind]}
        for kind in ("parts", "objective", "settings")
    )
    elbo = settings.pop("elbo", None)
    vae = row.program(event_shape, **{**row.parts, **parts})
    elbo = _objective(name, row, vae, elbo, objective)
    if data is not None and isinstance(vae, VAE):
        vae.initialise(data, seed=parts.get("seed") or 0)
    return Recipe.made(name, vae, elbo, {**row.settings, **settings}, dict(options))


def _objective(
    name: str, row: Row, vae: ProgramPair, elbo: str | Objective | None, options: dict[str, Any]
) -> Objective:
    """Make the objective of a row, or the one that the user puts in its place, with its options."""
    if isinstance(elbo, str):
        return get_elbo(elbo, **options)
    if elbo is not None:
        if options:
            raise ModelError(f"recipe {name!r}: {sorted(options)} are options of the objective that elbo= replaces")
        return elbo
    parameters = inspect.signature(row.elbo).parameters
    if "vae" in parameters:
        options = {"vae": vae, **options}
    for option, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise ModelError(f"recipe {name!r} needs {option}=")
    return row.elbo(**options)


def option_names(name: str) -> dict[str, tuple[str, ...]]:
    """Group the options of a recipe by what they set: "parts" of the model, the "objective", "settings" of fit."""
    row = RECIPES[name]
    parts = tuple(p for p in inspect.signature(row.program).parameters if p != "event_shape")
    objective = tuple(p for p in inspect.signature(row.elbo).parameters if p != "vae")
    return {"parts": parts, "objective": objective, "settings": tuple(f.name for f in fields(Settings))}
