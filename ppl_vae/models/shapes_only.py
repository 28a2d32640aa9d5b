"""A model's names and shapes without its memory, to judge whether weights can be of a configuration.

A configuration of a few bytes may ask for any amount of memory. It is built on torch's meta device, where tensors
have shapes and no numbers, and held against the tensors that are there; the model is built only where they agree.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ppl_vae.errors import CheckpointError, PplVaeError
from ppl_vae.models.persistence import require_architecture

# Calls of torch that building may take, beside those for each tensor; our parts need about ten a tensor.
CALLS, CALLS_PER_TENSOR = 2000, 100
KEEPING_SHAPE = (
    "uniform_", "normal_", "zero_", "fill_", "copy_", "add_", "mul_",
    "softplus", "relu", "tanh", "elu", "silu", "gelu",
)  # fmt: skip


class TooManyTensorsError(Exception):
    """A configuration asks for far more tensors than the file has."""


class ShapesOnly(TorchFunctionMode):
    """Inside, whoever asks a tensor without numbers for one gets 0, and only so many calls are answered."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer one call."""
        self.calls -= 1
        if self.calls < 0:
            raise TooManyTensorsError
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            if func is Tensor.item:
                return 0
            # There is nothing to fill or multiply, and torch would import its compiler to find that out.
            if getattr(func, "__name__", "") in KEEPING_SHAPE:
                return args[0]
            if func is functional.linear and args[0].shape[-1] == args[1].shape[1]:
                return args[0].new_empty(*args[0].shape[:-1], args[1].shape[0])
        return func(*args, **(kwargs or {}))


def require_fit(
    build: Callable[..., nn.Module],
    config: Mapping[str, Any],
    parts: Mapping[str, Any],
    state: Mapping[str, Tensor],
    path: Path,
) -> None:
    """Refuse tensors of another architecture than a configuration and the user's own ``parts`` make.

    Raises:
        ModelError: a name or a shape differs; the first is named.
        CheckpointError: no model can be built from the configuration.
    """
    try:
        given = {name: _without_numbers(part) for name, part in parts.items()}
        with torch.device("meta"), ShapesOnly(CALLS + CALLS_PER_TENSOR * len(state)):
            own = build({**config, **given}).state_dict()
    except PplVaeError:
        raise
    except Exception as error:
        if parts and not isinstance(error, TooManyTensorsError):
            # A module of the user's may need numbers; it is judged when it has them.
            return
        reason = str(error) or f"its {len(state)} tensors are too few for it"
        raise CheckpointError(f"{path}: not weights of what config.json describes ({reason})") from error
    require_architecture(own, state, path)


def _without_numbers(part: Any) -> Any:
    if isinstance(part, tuple):
        return tuple(_without_numbers(half) for half in part)
    return copy.deepcopy(part).to("meta") if isinstance(part, nn.Module) else part
