"""Schedules: functions of the optimiser step (a 0-d tensor, from 0) that give a factor (a 0-d tensor).

They are arithmetic on tensors, without a branch on the step's value, so that a compiled or captured step
need not be made anew when they move. ``fit`` multiplies the learning rate with one; objectives weight with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Schedule = Callable[[Tensor], Tensor]


def linear(steps: int, start: float = 0.0, end: float = 1.0) -> Schedule:
    """From ``start`` to ``end`` over ``steps`` steps, then constant.

    >>> linear(10)(torch.tensor(5))
    tensor(0.5000)
    """
    return lambda step: start + (end - start) * (step / steps).clamp(0.0, 1.0)


def cosine(steps: int, end: float = 0.0) -> Schedule:
    """From 1 to ``end`` along half a cosine over ``steps`` steps, then constant (Loshchilov & Hutter 2017)."""
    return lambda step: end + (1 - end) * 0.5 * (1 + torch.cos(math.pi * (step / steps).clamp(0.0, 1.0)))


def exponential(rate: float, steps: int) -> Schedule:
    """``rate`` to the power step / steps."""
    return lambda step: torch.as_tensor(rate) ** (step / steps)
