"""Latent arithmetic: an attribute's direction v is added to the codes of data, z + αv, and decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ppl_vae.plots import style
from ppl_vae.plots.arrays import Array, check_length, to_numpy
from ppl_vae.plots.figure import Size
from ppl_vae.plots.image_grid import as_images, grid_figure
from ppl_vae.plots.labels import number_labels


def plot_latent_arithmetic(
    images: Array,
    alphas: Array | Sequence[float],
    attribute: str,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw one row per datum and one column per weight α; α = 0, the plain reconstruction, is framed.

    Args:
        images: decoded z + αv, [N, steps, *event].
        alphas: the weights, [steps].
        attribute: what v is the direction of, such as "smiling".
        title: above the grid.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    grid = as_images(images, ("N", "steps"))
    weights = to_numpy(alphas)
    check_length("alphas", weights, grid.shape[1], "column of images")
    name = attribute.replace("$", r"\$")
    figure = grid_figure(
        grid, (), number_labels(weights), rf"$\alpha$ in $z + \alpha v$, $v$: {name}", title, ax, figsize
    )
    axes = figure.axes[0] if ax is None else ax
    for column in np.flatnonzero(np.isclose(weights, 0.0)):
        _mark_column(axes, int(column), rows=grid.shape[0])
    return figure


def _mark_column(axes: Axes, column: int, rows: int) -> None:
    frame = Rectangle((column - 0.5, -0.5), 1.0, rows, fill=False, edgecolor=style.VERMILION, linewidth=1.5)
    axes.add_patch(frame).set_clip_on(False)
    label = axes.get_xticklabels()[column]
    label.set(color=style.VERMILION, fontweight="bold")
