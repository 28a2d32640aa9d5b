"""The ends of an objective's schedules, and the warning about a run that ends before they do.

While the weight of the KL or a capacity still moves, the objective is not yet the one that was asked for: no epoch
before the end is chosen as the best, and patience does not run.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch

from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.schedules import END, Described, Schedule, describe
from ppl_vae.inference.training.settings import Settings

# Where a function that does not say its length is looked at: at steps that do not depend on the run.
PROBES = sorted({*range(32), *(int(32 * 1.06**power) for power in range(416))})
# It has settled where it is this near to its end, as a share of how far it moves; past this step it never does.
SETTLED, NEVER = 1e-3, 1 << 31
# What objectives call a function of the step.
NAMES = ("schedule", "capacity")
RATE = "schedule"


@dataclass(frozen=True)
class Ending:
    """The end of a schedule.

    Attributes:
        of: what it moves, such as "Annealed.schedule".
        description: the schedule in words.
        function: the schedule.
        step: the first step at which it is where it stays.
        exact: whether the step is its own word, or was found by looking.
    """

    of: str
    description: str
    function: Schedule
    step: int
    exact: bool = True

    def sentence(self, steps: int) -> str:
        """Say what a run of so many steps, fewer than the schedule's, leaves undone."""
        last, end = (value_at(self.function, step) for step in (max(steps - 1, 0), END))
        takes = f"takes {'' if self.exact else 'about '}{self.step:,} steps"
        return (
            f"{self.of} = {self.description} {takes}, but the run has {steps:,}: it ends at "
            f"{last:.3g} of {end:.3g}. Give it at most {steps:,} steps (a recipe's steps=), or more epochs"
        )


def objective_endings(objective: Objective) -> list[Ending]:
    """The end of each schedule of an objective; one that moves for ever has none."""
    endings = []
    for part in objective.modules():
        for name, value in vars(part).items():
            if isinstance(value, Described) or (name in NAMES and callable(value)):
                endings.append(_ending(f"{type(part).__name__}.{name}", value))
    return [ending for ending in endings if ending is not None]


def rate_endings(schedule: Schedule | None) -> list[Ending]:
    """The end of the learning rate's schedule, if it states one."""
    if not isinstance(schedule, Described) or schedule.steps is None:
        return []
    return [Ending(RATE, describe(schedule), schedule, math.ceil(schedule.steps))]


def describe_schedules(settings: Settings, steps: int | None) -> list[dict[str, object]]:
    """Describe for a manifest every schedule that ends, its end, and its value after a run of so many steps."""
    described = []
    for ending in _endings(settings):
        row: dict[str, object] = {"of": ending.of, "schedule": ending.description, "ends_at_step": ending.step}
        if steps is not None:
            row |= {"run_steps": steps, "last_value": value_at(ending.function, max(steps - 1, 0))}
        described.append(row)
    return described


def warn_of_unfinished(settings: Settings, steps: int | None, chooses: bool) -> None:
    """Warn of every schedule that is longer than the run.

    Args:
        settings: of the run.
        steps: how many it has in all; None where that is not known, and nothing is said.
        chooses: whether validation data choose the best epoch.
    """
    for ending in _endings(settings):
        if steps is None or ending.step <= steps:
            continue
        # A rate that falls may be meant for a run that goes on later; one that has yet to rise is a surprise.
        if ending.of == RATE and value_at(ending.function, max(steps - 1, 0)) >= value_at(ending.function, END):
            continue
        kept = "; until it ends no epoch is chosen as the best, so the last weights are kept"
        warnings.warn(ending.sentence(steps) + (kept if chooses and ending.of != RATE else ""), stacklevel=4)


def _endings(settings: Settings) -> list[Ending]:
    return [*objective_endings(settings.objective), *rate_endings(settings.factor)]


def end_of_warm_up(objective: Objective) -> int:
    """The step from which on the objective stays as it is: 0 without schedules."""
    return max((ending.step for ending in objective_endings(objective)), default=0)


def value_at(schedule: Schedule, step: int) -> float:
    """The value of a schedule at a step; NaN where it has none."""
    try:
        return float(schedule(torch.tensor(step)))
    except Exception:
        return math.nan


def _ending(of: str, schedule: Schedule) -> Ending | None:
    if isinstance(schedule, Described):
        if schedule.steps is None:
            return None
        return Ending(of, describe(schedule), schedule, math.ceil(schedule.steps))
    settled = _settled(schedule)
    return None if settled is None else Ending(of, describe(schedule), schedule, settled, exact=False)


def _settled(schedule: Schedule) -> int | None:
    """The first step looked at from which on a function stays at its end; None where there is no such step."""
    end = value_at(schedule, END)
    away = [abs(value_at(schedule, step) - end) for step in PROBES]
    if not all(math.isfinite(distance) for distance in away):
        return None
    moving = [step for step, distance in zip(PROBES, away, strict=True) if distance > SETTLED * max(away)]
    settled = next((step for step in PROBES if not moving or step > moving[-1]), NEVER)
    return settled if settled < NEVER else None
