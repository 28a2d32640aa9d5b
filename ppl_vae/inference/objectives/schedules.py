"""Schedules: functions of the optimiser step (a 0-d tensor, from 0) that give a factor (a 0-d tensor).

They are arithmetic on tensors, without a branch on the step's value, so that a compiled or captured step
need not be made anew when they move. ``fit`` multiplies the learning rate with one; objectives weight with one.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec

import torch
from torch import Tensor

from ppl_vae.checks import positive, real, whole
from ppl_vae.declared import Qualified
from ppl_vae.errors import ModelError, reason_of, unknown_name

P = ParamSpec("P")

Schedule = Callable[[Tensor], Tensor]

# A step that every schedule has ended by.
END = 1 << 40


@dataclass(frozen=True)
class Described:
    """A schedule that a manifest can tell from another of the same kind.

    Attributes:
        description: its name and options.
        weight: the factor at a step.
        steps: after how many it stays where it is; None where it never does.
        options: by name, to make it again from.
    """

    description: str
    weight: Schedule
    steps: float | None = None
    options: tuple[tuple[str, object], ...] = ()

    def __call__(self, step: Tensor) -> Tensor:
        """The factor at a step."""
        return self.weight(step)

    def __repr__(self) -> str:
        return self.description

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled, as for another process, by its name and options: its function has no name of its own."""
        return _made_again, (self.description.partition("(")[0], self.options)


def _made_again(name: str, options: tuple[tuple[str, object], ...]) -> Schedule:
    made: Schedule = globals()[name](**dict(options))
    return made


def _described(make: Callable[P, Schedule]) -> Callable[P, Schedule]:
    @functools.wraps(make)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        bound = inspect.signature(make).bind(*args, **kwargs)
        bound.apply_defaults()
        items = tuple(bound.arguments.items())
        options = ", ".join(f"{name}={value}" for name, value in items)
        steps = None if make.__name__ == "exponential" else bound.arguments["steps"]
        return Described(f"{make.__name__}({options})", make(*args, **kwargs), steps, items)

    return wrapped


@_described
def linear(steps: int, start: float = 0.0, end: float = 1.0) -> Schedule:
    """Move linearly from ``start`` to ``end`` over ``steps`` steps, then stay.

    >>> linear(10)(torch.tensor(5))
    tensor(0.5000)
    """
    positive("steps", steps), real("start", start), real("end", end)
    return lambda step: start + (end - start) * (step / steps).clamp(0.0, 1.0)


@_described
def cosine(steps: int, end: float = 0.0) -> Schedule:
    """Fall from 1 to ``end`` along half a cosine over ``steps`` steps, then stay (Loshchilov & Hutter 2017).

    Loshchilov & Hutter (2017): https://arxiv.org/abs/1608.03983
    """
    positive("steps", steps), real("end", end)
    return lambda step: end + (1 - end) * 0.5 * (1 + torch.cos(math.pi * (step / steps).clamp(0.0, 1.0)))


@_described
def warmup_cosine(steps: int, warmup: float = 0.1, end: float = 0.0) -> Schedule:
    """Rise linearly from 0 to 1 over a share ``warmup`` of ``steps``, then fall to ``end`` along half a cosine.

    The rise is that of Goyal et al. (2017), https://arxiv.org/abs/1706.02677, the fall that of ``cosine``. The
    first step has a rate already: a step at rate 0 would be none.
    """
    positive("steps", steps), real("end", end)
    if not 0 < real("warmup", warmup) < 1:
        raise ModelError(f"warmup must be a share between 0 and 1, got {warmup!r}")
    rise = max(1.0, warmup * steps)

    def factor(step: Tensor) -> Tensor:
        rising = ((step + 1) / rise).clamp(0.0, 1.0)
        done = ((step - rise) / max(1.0, steps - rise)).clamp(0.0, 1.0)
        return rising * (end + (1 - end) * 0.5 * (1 + torch.cos(math.pi * done)))

    return factor


@_described
def exponential(rate: float, steps: int) -> Schedule:
    """The power ``rate`` ** (step / steps)."""
    positive("rate", rate), positive("steps", steps)
    return lambda step: torch.as_tensor(rate) ** (step / steps)


@_described
def cyclical(steps: int, cycles: int = 4, ramp: float = 0.5) -> Schedule:
    """Ramp ``cycles`` times from 0 to 1 within ``steps`` steps, then stay at 1 (Fu et al. 2019, eq. 6-7).

    Each is a linear rise over a share ``ramp`` of its cycle and stays at 1 for the rest.

    Fu et al. (2019): https://arxiv.org/abs/1903.10145

    >>> [round(float(cyclical(8, cycles=2)(torch.tensor(s))), 2) for s in range(9)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    positive("steps", steps), whole("cycles", cycles)
    if not positive("ramp", ramp) <= 1:
        raise ModelError(f"ramp must be a share of a cycle, above 0 and at most 1, got {ramp!r}")

    def weight(step: Tensor) -> Tensor:
        position = torch.remainder(step * cycles / steps, 1.0)
        return torch.where(step >= steps, torch.ones_like(position), (position / ramp).clamp(max=1.0))

    return weight


@_described
def sigmoid(steps: int, sharpness: float = 10.0) -> Schedule:
    """Rise along a logistic around ``steps`` / 2, rescaled to be exactly 0 at 0 and 1 from ``steps`` on."""
    positive("steps", steps), positive("sharpness", sharpness)
    low, high = (1 / (1 + math.exp(s * sharpness / 2)) for s in (1, -1))

    def weight(step: Tensor) -> Tensor:
        position = (step / steps).clamp(0.0, 1.0)
        return (torch.sigmoid(sharpness * (position - 0.5)) - low) / (high - low)

    return weight


# What fit(schedule=NAME) means in a run of so many steps.
BY_NAME: Mapping[str, Callable[[int], Schedule | None]] = {
    "constant": lambda steps: None,
    "cosine": lambda steps: cosine(steps),
    "exponential": lambda steps: exponential(0.01, steps),
    "linear": lambda steps: linear(steps, 1.0, 0.0),
    "warmup-cosine": lambda steps: warmup_cosine(steps),
}


def of_run(name: str, steps: int | None) -> Schedule | None:
    """Make the schedule of a name, as long as the run; None where the rate stays.

    Args:
        name: one of ``BY_NAME``.
        steps: of the whole run; None where they cannot be counted beforehand.

    Raises:
        ModelError: they cannot, and the schedule needs their number.
    """
    if name != "constant" and steps is None:
        raise ModelError(
            f"schedule {name!r} is as long as the run, whose number of steps these data do not tell; "
            "give a schedule with its steps, such as inf.schedules.cosine(steps)"
        )
    return BY_NAME[name](steps or 0)


def at(schedule: Schedule, step: Tensor | None, like: Tensor) -> Tensor:
    """The value of a schedule at a step, or at its end where there is no step, as a tensor like ``like``.

    A schedule of the user's may give a plain number, as those of learning rates may.
    """
    now = step if step is not None else torch.tensor(END, device=like.device)
    return torch.as_tensor(schedule(now)).to(like)


def require_function(name: str, schedule: object) -> None:
    """Refuse what is no function of the step.

    Raises:
        ModelError: with the way out.
    """
    if isinstance(schedule, str):
        raise ModelError(unknown_name(name, schedule, BY_NAME))
    if not callable(schedule) or isinstance(schedule, type):
        raise ModelError(
            f"{name} must be a callable on the optimiser step, got {schedule!r}; "
            "give one of inf.schedules, such as cosine(steps), or a function of the step"
        )


def require_factor(name: str, schedule: Schedule) -> None:
    """Refuse a function that gives no factor at step 0.

    Raises:
        ModelError: its value is not a finite number of at least 0.
    """
    try:
        value = float(schedule(torch.tensor(0)))
    except Exception as error:
        reason = reason_of(error)
        raise ModelError(f"{name} gives no number at step 0 ({reason}); give a function of the step") from None
    if not 0 <= value < math.inf:
        raise ModelError(f"{name} must be finite and at least 0, but is {value:g} at step 0")


def describe(function: object) -> str:
    """Describe a callable in words that are the same in every process: they hold no address."""
    if isinstance(function, Qualified):
        return function.__qualname__
    return re.sub(r" at 0x[0-9a-f]+", "", repr(function))
