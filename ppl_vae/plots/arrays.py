"""The numbers that a plot takes: a tensor on any device, with or without its gradient, or a NumPy array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ppl_vae.errors import DataError

Array = torch.Tensor | np.ndarray


def to_numpy(x: Array | Sequence[Any]) -> np.ndarray:
    """Copy the values of `x` into a NumPy array in main memory.

    >>> to_numpy(torch.ones(2, requires_grad=True))
    array([1., 1.], dtype=float32)
    """
    if not isinstance(x, torch.Tensor):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def check_finite(what: str, x: np.ndarray) -> None:
    """Refuse numbers that a picture would leave out without a word."""
    broken = x.size - int(np.isfinite(x).sum())
    if broken:
        raise DataError(f"{what}: expected finite values, found {broken} of {x.size} that are nan or infinite")


def check_length(what: str, values: Sequence[Any] | np.ndarray, expected: int, of: str) -> None:
    """Refuse labels that do not match what they label."""
    if np.shape(values) != (expected,):
        raise DataError(f"{what}: expected {expected}, one for each {of}, found shape {np.shape(values)}")
