"""Gradients of what a trained model says: they are recorded where somebody asks for them.

Codes and reconstructions are read, stored and drawn far more often than they are differentiated, and a tensor with
a history cannot become an array. So ``vae.encode`` and ``vae.decode`` record none, unless what they are given
requires a gradient, as for a sensitivity to x or z. The programs, ``vae.guide.encode`` and ``vae.model.decode``,
record the parameters' as every torch module does: a training loop of one's own calls these.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")


def on_request(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let a method record gradients only where an argument of it requires one."""

    @functools.wraps(method)
    def wrapped(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        given = (*args, *kwargs.values())
        wanted = any(isinstance(value, Tensor) and value.requires_grad for value in given)
        with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            return method(self, *args, **kwargs)

    return wrapped
