"""Decoded draws of several latent spaces, one row each, beside real data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.plots.arrays import Array
from ppl_vae.plots.figure import Size
from ppl_vae.plots.image_grid import as_images, grid_figure, wrap


def plot_latent_holes(
    rows: Mapping[str, Array],
    lines: int = 2,
    columns: int = 14,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw the first images of every kind.

    Args:
        rows: images [n, *event] by their label, such as "VAE: draws of its prior".
        lines: rows of images a kind.
        columns: images in a row.
        title: above the grid.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    kinds = {name: as_images(images) for name, images in rows.items()}
    grids = [wrap(images[: lines * columns], columns) for images in kinds.values()]
    names = [_label(name, len(images), lines * columns) for name, images in kinds.items()]
    labels = [
        label if line == 0 else "" for label, grid in zip(names, grids, strict=True) for line in range(len(grid))
    ]
    return grid_figure(np.concatenate(grids), labels, title=title, ax=ax, figsize=figsize)


def _label(name: str, given: int, most: int) -> str:
    """Name a kind, with how many of its images are shown where that is not all."""
    return name if given <= most else f"{name} ({most} of {given})"
