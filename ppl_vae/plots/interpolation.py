"""Walks in latent space: the points between two codes, decoded."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.plots.arrays import Array
from ppl_vae.plots.figure import Size
from ppl_vae.plots.image_grid import as_images, grid_figure
from ppl_vae.plots.labels import number_labels


def plot_interpolations(
    images: Array, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw one walk per row, from the first datum of a pair at the left to the second at the right.

    Args:
        images: decoded points at equal steps between the two codes of each pair, ends included,
            [steps, N, *event].
        title: above the grid.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    rows = as_images(images, ("steps", "N")).swapaxes(0, 1)
    labels = number_labels(np.linspace(0.0, 1.0, rows.shape[1]))
    return grid_figure(
        rows, (), labels, r"$\lambda$ in $z = (1 - \lambda)\, z_a + \lambda\, z_b$", title, ax, figsize
    )
