"""A recipe is a row of the table, from which ``make`` makes a model, its objective and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppl_vae.display import card
from ppl_vae.inference import AnalyticKL, Objective
from ppl_vae.models import VAE, ProgramPair


@dataclass(frozen=True)
class Recipe:
    """A model, the objective that trains it, and the settings of its paper; ``pv.fit(recipe, data)`` uses all.

    Attributes:
        name: of the recipe.
        vae: the pair of programs.
        elbo: the objective.
        settings: arguments of ``fit``.
        options: what ``make`` was given, to make it again with another seed; None for one put together by hand, as
            by ``dataclasses.replace``, which ``make`` would not make again.
    """

    name: str
    vae: Any
    elbo: Objective
    settings: Mapping[str, object]
    options: Mapping[str, object] | None = field(default=None, init=False)

    @classmethod
    def made(
        cls, name: str, vae: Any, elbo: Objective, settings: Mapping[str, object], options: Mapping[str, object]
    ) -> Recipe:
        """One that ``make`` makes again from the options."""
        recipe = cls(name, vae, elbo, settings)
        object.__setattr__(recipe, "options", options)
        return recipe

    def _repr_html_(self) -> str:
        objective = {"objective": " ".join(repr(self.elbo).split()), "settings": self.settings}
        return card(f"recipe {self.name}", {"model": type(self.vae).__name__, **self.vae.facts(), **objective})


@dataclass(frozen=True)
class Row:
    """One recipe of the table.

    Attributes:
        summary: what it is, in one line.
        paper: where it comes from.
        parts: arguments of the program.
        elbo: makes the objective from its options; from the model too, if it has a parameter ``vae``.
        settings: arguments of fit.
        program: makes the pair of programs, from an event shape and its parts.
    """

    summary: str
    paper: str
    parts: Mapping[str, object] = field(default_factory=dict)
    elbo: Callable[..., Objective] = AnalyticKL
    settings: Mapping[str, object] = field(default_factory=dict)
    program: Callable[..., ProgramPair] = VAE
