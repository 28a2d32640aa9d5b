"""The settings of a run: what the user gave, else what the recipe says, else the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ppl_vae.checks import positive, whole
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.files import JsonObject
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.estimators.table import as_objective
from ppl_vae.inference.objectives.schedules import (
    BY_NAME,
    Schedule,
    describe,
    of_run,
    require_factor,
    require_function,
)
from ppl_vae.inference.training.optimizer import (
    Optimizer,
    check_optimizer,
    describe_optimizer,
    make_optimizer,
    named_optimizer,
    takes_rate,
)


@dataclass(frozen=True)
class Settings:
    """The settings of a run, as ``fit`` documents them; no ``batch_size`` means 128, or all data if fewer.

    Raises:
        ModelError: a value is out of range or of another type.
    """

    elbo: str | Objective = "analytic-kl"
    epochs: int = 50
    batch_size: int | None = None
    lr: float = 1e-3
    optimizer: Optimizer | str | None = None
    schedule: Schedule | str | None = None
    max_grad_norm: float | None = None
    validation: float | Tensor | str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, size in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            object.__setattr__(self, name, whole(name, size))
        # 0 is how a user says never, where a recipe has a patience of its own.
        object.__setattr__(self, "patience", whole("patience", self.patience, least=0) or None)
        for name, value in (("lr", self.lr), ("max_grad_norm", self.max_grad_norm)):
            object.__setattr__(self, name, None if value is None else positive(name, value))
        object.__setattr__(self, "optimizer", named_optimizer(self.optimizer))
        check_optimizer(self.optimizer)
        if self.schedule is not None and not self.named_schedule:
            require_function("schedule", self.schedule)

    @property
    def objective(self) -> Objective:
        """The objective behind ``elbo``."""
        return as_objective(self.elbo)

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimiser over the parameters: Adam in one fused kernel, unless the user brought another."""
        return make_optimizer(named_optimizer(self.optimizer), parameters, self.objective, self.lr, self.factor)

    @property
    def named_schedule(self) -> str | None:
        """The name of a schedule that is as long as the run, while its length is not known yet."""
        return self.schedule if isinstance(self.schedule, str) and self.schedule in BY_NAME else None

    @property
    def factor(self) -> Schedule | None:
        """The function of the step that multiplies the learning rate."""
        return None if isinstance(self.schedule, str) else self.schedule

    def over(self, steps: int | None) -> Settings:
        """The same settings of a run of so many steps, where a schedule is told by name."""
        return self if self.named_schedule is None else replace(self, schedule=of_run(self.named_schedule, steps))

    def describe(self) -> dict[str, object]:
        """The settings as plain values, for a manifest."""
        return {
            "elbo": repr(self.objective),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "optimizer": describe_optimizer(self.optimizer),
            "schedule": None if self.schedule is None else describe(self.schedule),
            "max_grad_norm": self.max_grad_norm,
            "patience": self.patience,
        }


@runtime_checkable
class HasSettings(Protocol):
    """An object with settings and an objective of its own, as a Recipe is."""

    elbo: Objective
    settings: Mapping[str, object]


def resolve(recipe: object, given: Mapping[str, object]) -> Settings:
    """Settings of a run.

    Args:
        recipe: what was passed to ``fit``; its ``elbo`` and ``settings`` count where it has them.
        given: the user's arguments; None means not given.

    Raises:
        ModelError: the recipe has a setting that ``fit`` does not know, or a value is not possible.
    """
    own: JsonObject = {}
    if isinstance(recipe, HasSettings):
        own = {**recipe.settings, "elbo": recipe.elbo}
    known = {field.name for field in fields(Settings)}
    for name in own:
        if name not in known:
            raise ModelError(unknown_name("setting", name, known))
    given = {name: value for name, value in given.items() if value is not None}
    settings = Settings(**{**own, **given})
    if settings.factor is not None:
        require_factor("schedule", settings.factor)
    if "lr" in given and not takes_rate(settings.optimizer):
        name = describe_optimizer(settings.optimizer)
        raise ModelError(
            f"lr={settings.lr:g} would be ignored: optimizer {name} has its own; "
            "leave lr out, or give the optimizer as a class, or a partial of one without lr"
        )
    return settings
