"""Decoded draws of several latent spaces, one row each, beside real data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ppl_vae.plots.arrays import Array
from ppl_vae.plots.image_grid import as_images, grid_figure, wrap


def plot_latent_holes(
    rows: Mapping[str, Array], lines: int = 2, columns: int = 14, title: str | None = None
) -> Figure:
    """Draw the first images of every kind.

    Args:
        rows: images [n, *event] by their label, such as "VAE: draws of its prior".
        lines: rows of images a kind.
        columns: images in a row.
        title: above the grid.
    """
    grids = [wrap(as_images(images)[: lines * columns], columns) for images in rows.values()]
    labels = [
        label if line == 0 else "" for label, grid in zip(rows, grids, strict=True) for line in range(len(grid))
    ]
    return grid_figure(np.concatenate(grids), labels, title=title)
