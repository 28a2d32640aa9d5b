"""Samples of a generative model, or the data themselves, in a nearly square grid."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import ModelError
from ppl_vae.plots.arrays import Array
from ppl_vae.plots.figure import Size
from ppl_vae.plots.image_grid import as_images, grid_figure, wrap


def plot_samples(
    x: Array,
    columns: int | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw images row by row.

    Args:
        x: images, [N, *event].
        columns: images in a row; by default the grid is as square as N allows.
        title: above the grid.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: x holds no images.
        ModelError: columns below one.
    """
    images = as_images(x)
    if columns is not None and columns < 1:
        raise ModelError(f"columns: expected at least 1, found {columns}")
    return grid_figure(
        wrap(images, columns or math.ceil(math.sqrt(len(images)))), title=title, ax=ax, figsize=figsize
    )
