"""The names and shapes of a model without its memory, to judge whether weights fit a configuration.

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
from torch.overrides import TorchFunctionMode

from ppl_vae.declared import Qualified
from ppl_vae.errors import CheckpointError, PplVaeError, first_line
from ppl_vae.models.stored.persistence import require_architecture

# Calls of torch that building may take, beside those for each tensor; our parts need about ten a tensor.
CALLS, CALLS_PER_TENSOR = 2000, 100
COMPARISONS = ("ge", "gt", "eq", "__ge__", "__gt__", "__eq__")
KEEPING_SHAPE = (
    "uniform_", "normal_", "zero_", "fill_", "copy_", "add_", "mul_",
    "softplus", "relu", "tanh", "elu", "silu", "gelu",
)  # fmt: skip


class TooManyTensorsError(Exception):
    """A configuration asks for far more tensors than the file has."""


class ShapesOnly(TorchFunctionMode):
    """A mode in which a tensor without numbers gives 0 for any, and only so many calls are answered."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        """Answer one call."""
        self.calls -= 1
        if self.calls < 0:
            raise TooManyTensorsError
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            if func is Tensor.item:
                return 0
            shape = _shape(func.__name__, args) if isinstance(func, Qualified) else None
            if shape is not None:
                return args[0] if shape == args[0].shape else args[0].new_empty(shape)
        return func(*args, **(kwargs or {}))


def _shape(name: str, args: Any) -> torch.Size | None:
    """The shape of a result for which torch would first import its compiler; None where it would not."""
    if name in KEEPING_SHAPE:
        return args[0].shape
    if name in COMPARISONS and isinstance(args[1], Tensor):
        return torch.broadcast_shapes(args[0].shape, args[1].shape)
    if name == "linear" and args[0].shape[-1] == args[1].shape[1]:
        return torch.Size([*args[0].shape[:-1], args[1].shape[0]])
    if name == "conv2d" and len(args) == 7 and all(isinstance(option, tuple) for option in args[3:6]):
        sizes = zip(args[0].shape[2:], args[1].shape[2:], *args[3:6], strict=True)
        pixels = [(n + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for n, k, stride, pad, dilation in sizes]
        return torch.Size([args[0].shape[0], args[1].shape[0], *pixels])
    return None


def require_fit(
    build: Callable[..., nn.Module],
    config: Mapping[str, object],
    parts: Mapping[str, object],
    state: Mapping[str, Tensor],
    path: Path,
) -> None:
    """Refuse tensors of another architecture than a configuration and the user's own ``parts`` make.

    Raises:
        ModelError: a name or a shape differs; the first is named.
        CheckpointError: no model can be built from the configuration.
    """
    try:
        on_meta = {name: _without_numbers(part) for name, part in parts.items()}
        with torch.device("meta"), ShapesOnly(CALLS + CALLS_PER_TENSOR * len(state)):
            expected = build({**config, **on_meta}).state_dict()
    except PplVaeError:
        raise
    except Exception as error:
        if parts and not isinstance(error, TooManyTensorsError):
            # A module of the user's may need numbers; it is judged when it has them.
            return
        reason = first_line(error) or f"{len(state)} tensors are too few for it"
        raise CheckpointError(f"{path}: not the weights of the model in config.json ({reason})") from error
    require_architecture(expected, state, path)


def _without_numbers(part: object) -> object:
    if isinstance(part, tuple):
        return tuple(_without_numbers(half) for half in part)
    return copy.deepcopy(part).to("meta") if isinstance(part, nn.Module) else part
