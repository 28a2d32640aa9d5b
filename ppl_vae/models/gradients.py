"""Gradients of what a trained model says: they are recorded where somebody asks for them.

Codes and reconstructions are read, stored and drawn far more often than they are differentiated, and a tensor with
a history cannot become an array. So in evaluation mode, in which ``fit`` and ``load`` leave a model, ``vae.encode``
and ``vae.decode`` record none, unless what they are given requires a gradient, as for a sensitivity to x or z. In
training mode, as a loop of one's own has it, they record the parameters' like every torch module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
S = TypeVar("S", bound=nn.Module)
R = TypeVar("R")


def on_request(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let a method of a module in evaluation mode record gradients only where an argument requires one."""

    @functools.wraps(method)
    def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        given = (*args, *kwargs.values())
        wanted = self.training or any(isinstance(value, Tensor) and value.requires_grad for value in given)
        with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            return method(self, *args, **kwargs)

    return wrapped
