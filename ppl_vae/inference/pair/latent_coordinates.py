"""The single numbers of a latent site's values, its coordinates, one after the other."""

from __future__ import annotations

from torch import Tensor


def coordinates(value: Tensor) -> Tensor:
    """Flatten the event of a site's values [K, N, *event]: [K, N, U], U = 1 for a scalar event."""
    return value.reshape(*value.shape[:2], value.shape[2:].numel())


def laid_out(known: Tensor, value: Tensor) -> Tensor:
    """Lay numbers out as values [K, N, *event]; beside nested plates they have sizes of one after the first."""
    if known.dim() > value.dim():
        known = known.reshape(known.shape[0], *known.shape[1 - value.dim() :])
    return known.expand(value.shape)
