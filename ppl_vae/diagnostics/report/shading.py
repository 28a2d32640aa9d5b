"""Data as pictures: numbers of an event as grey levels or colours from 0 to 255."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

MISSING = 128


@dataclass(frozen=True)
class Shading:
    """The rule by which numbers become shades, the same for data and for what is decoded.

    Attributes:
        low: what is black.
        high: what is white.
        notes: sentences on what a reader should know.
    """

    low: float
    high: float
    notes: tuple[str, ...]

    @staticmethod
    def of(x: Tensor) -> Shading:
        """Choose it for data [N, *event_shape]."""
        values = x.detach().double().cpu().numpy()
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        notes = [] if known.size == values.size else ["Missing values are grey."]
        if low >= 0 and high <= 1:
            return Shading(0.0, 1.0, tuple(notes))
        notes.append(f"Black is {low:.4g}, white {high:.4g}.")
        return Shading(low, high if high > low else low + 1.0, tuple(notes))

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Shade [M, *event_shape] as pictures [M, H, W] or [M, H, W, 3]."""
        numbers = _as_images(values.astype(np.float64))
        shades = 255 * np.clip((numbers - self.low) / (self.high - self.low), 0, 1)
        return np.where(np.isnan(shades), MISSING, np.rint(shades)).astype(np.uint8)


def _as_images(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay events out as images: colours last, a sequence as one row a step, further channels below one another."""
    if values.ndim == 2:
        return values[:, None, :]
    if values.ndim == 3:
        return values
    values = values.reshape(len(values), -1, *values.shape[-2:])
    if values.shape[1] == 3:
        return np.moveaxis(values, 1, -1)
    return values.reshape(len(values), -1, values.shape[-1])
