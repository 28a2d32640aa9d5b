"""A grid of points in a latent plane, laid out as a picture: z₁ to the right, z₂ upwards."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.errors import ModelError


def latent_grid(
    rows: int, cols: int, extent: tuple[tuple[float, float], tuple[float, float]] | None = None
) -> Tensor:
    """Codes to decode for a picture of the manifold; row 0 is its top and has the largest z₂.

    Without an extent the coordinates are standard normal quantiles, at the midpoints of equal shares of
    probability, Φ⁻¹((i + 1/2) / n), so that every tile stands for as much of the prior as any other
    (Kingma and Welling 2013, figure 4).

    Args:
        rows: steps of z₂, at least 2.
        cols: steps of z₁, at least 2.
        extent: ((first z₁, last z₁), (bottom z₂, top z₂)) for equal steps, both ends included.

    Returns:
        z, [rows, cols, 2].

    Raises:
        ModelError: fewer than two rows or columns.

    >>> latent_grid(3, 2, extent=((-1.0, 1.0), (0.0, 4.0)))[:, :, 1]
    tensor([[4., 4.],
            [2., 2.],
            [0., 0.]])
    """
    if rows < 2 or cols < 2:
        raise ModelError(f"latent grid: expected at least 2 rows and 2 columns, found {rows} and {cols}")
    if extent is None:
        z1, z2 = _normal_quantiles(cols), _normal_quantiles(rows)
    else:
        (left, right), (bottom, top) = extent
        if not (left < right and bottom < top):
            raise ModelError(f"extent: expected two pairs (low, high) with low < high, found {extent}")
        z1, z2 = torch.linspace(left, right, cols), torch.linspace(bottom, top, rows)
    height, width = torch.meshgrid(z2.flip(0), z1, indexing="ij")
    return torch.stack([width, height], dim=-1)


def _normal_quantiles(n: int) -> Tensor:
    """Medians of n equal shares of the standard normal, in rising order, [n]."""
    shares = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.special.ndtri(shares).to(torch.get_default_dtype())
