"""Rows of images, each with its name: the same data, or the same walk, as several models or quantities show it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots.arrays import Array
from ppl_vae.plots.figure import Size
from ppl_vae.plots.image_grid import as_images, grid_figure


def plot_image_rows(
    rows: Mapping[str, Array], title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw one row of images per name, column under column.

    Args:
        rows: images [n, *event] by the name of the row, as many in each.
        title: above the grid.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: no row, or rows of different lengths or image shapes; the row is named.
    """
    if not rows:
        raise DataError("rows: expected at least one row of images, found none")
    grids = {name: as_images(images) for name, images in rows.items()}
    (first, expected), *others = ((name, grid.shape) for name, grid in grids.items())
    for name, found in others:
        if found != expected:
            raise DataError(f"row {name!r}: expected images of shape {expected}, as of {first!r}, found {found}")
    return grid_figure(np.stack(list(grids.values())), list(rows), title=title, ax=ax, figsize=figsize)
