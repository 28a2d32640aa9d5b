"""The settings of a run: what the user gave, else what the recipe says, else the defaults."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ppl_vae.checks import positive, whole
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.estimators import as_objective
from ppl_vae.inference.objective import Objective
from ppl_vae.inference.schedules import Schedule, describe

Optimizer = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Settings:
    """How a run trains; ``fit`` documents each. No ``batch_size`` is 128, or all data where there are fewer.

    Raises:
        ModelError: a value that cannot be meant.
    """

    elbo: str | Objective = "analytic-kl"
    epochs: int = 50
    batch_size: int | None = None
    lr: float = 1e-3
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    max_grad_norm: float | None = None
    validation: float | Tensor | str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        # 0 is how a user says never, where a recipe has a patience of its own.
        object.__setattr__(self, "patience", whole("patience", self.patience, least=0) or None)
        for name in ("lr", "max_grad_norm"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else positive(name, value))
        for name in ("optimizer", "schedule"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                kind = "parameters" if name == "optimizer" else "the optimiser step"
                raise ModelError(f"{name} must be a callable on {kind}, got {getattr(self, name)!r}")

    @property
    def objective(self) -> Objective:
        """The objective behind ``elbo``."""
        return as_objective(self.elbo)

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimiser over the parameters: Adam in one fused kernel, unless the user brought another."""
        if self.optimizer is None:
            return torch.optim.Adam(self._groups(parameters), lr=self.lr, fused=True)
        options = {"lr": self.lr} if _takes_rate(self.optimizer) else {}
        made = self.optimizer(parameters, **options)
        if not isinstance(made, torch.optim.Optimizer):
            raise ModelError(f"optimizer must make a torch.optim.Optimizer, got {type(made).__name__}")
        return made

    def _groups(self, parameters: list[Tensor]) -> list[Any]:
        """The parameters, those of the objective in a group of its own if it wants them treated otherwise."""
        objective = self.objective
        if not objective.optimizer_options:
            return parameters
        own = {id(parameter) for parameter in objective.parameters()}
        theirs, ours = ([p for p in parameters if (id(p) in own) is mine] for mine in (False, True))
        return [{"params": theirs}, {"params": ours, **objective.optimizer_options}]

    def describe(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        return {
            "elbo": repr(self.objective),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "optimizer": "Adam" if self.optimizer is None else describe(self.optimizer),
            "schedule": None if self.schedule is None else describe(self.schedule),
            "max_grad_norm": self.max_grad_norm,
            "patience": self.patience,
        }


def resolve(recipe: Any, given: Mapping[str, Any]) -> Settings:
    """Settings of a run.

    Args:
        recipe: what was passed to ``fit``; its ``elbo`` and ``settings`` count where it has them.
        given: the user's arguments; None means not given.

    Raises:
        ModelError: the recipe has a setting that ``fit`` does not know, or a value cannot be meant.
    """
    own = dict(getattr(recipe, "settings", {}))
    if own or hasattr(recipe, "settings"):
        own["elbo"] = recipe.elbo
    known = {field.name for field in fields(Settings)}
    for name in own:
        if name not in known:
            raise ModelError(unknown_name("setting", name, known))
    return Settings(**{**own, **{name: value for name, value in given.items() if value is not None}})


def _takes_rate(optimizer: Optimizer) -> bool:
    """Whether ``lr`` is the run's to give: a class, or a partial of one that does not fix it."""
    if isinstance(optimizer, functools.partial):
        return isinstance(optimizer.func, type) and "lr" not in optimizer.keywords
    return isinstance(optimizer, type)
