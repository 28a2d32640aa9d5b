"""Latent traversals: one coordinate of a code is moved while the others stay."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.plots.arrays import Array, check_length, to_numpy
from ppl_vae.plots.figure import Size
from ppl_vae.plots.image_grid import as_images, grid_figure
from ppl_vae.plots.labels import latent_name, number_labels


def plot_traversals(
    images: Array,
    values: Array | Sequence[float],
    names: Sequence[str] | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw one row per latent dimension, and one column per value that it takes.

    Args:
        images: decoded points, [L, steps, *event].
        values: what the moved coordinate is set to, [steps].
        names: of the L rows; by default z₁ to z_L.
        title: above the grid.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    grid = as_images(images, ("L", "steps"))
    steps = to_numpy(values)
    row_labels = [latent_name(i) for i in range(len(grid))] if names is None else list(names)
    check_length("values", steps, grid.shape[1], "column of images")
    check_length("names", row_labels, grid.shape[0], "row of images")
    return grid_figure(grid, row_labels, number_labels(steps), "value of the latent coordinate", title, ax, figsize)
