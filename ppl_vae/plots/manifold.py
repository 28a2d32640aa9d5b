"""The manifold of a two-dimensional latent space: a grid of codes, decoded, as one picture.

D. P. Kingma, M. Welling (2013), "Auto-encoding variational Bayes", https://arxiv.org/abs/1312.6114, figure 4. The
grid comes from `ppl_vae.models.latent_grid`, whose row 0 is the top of the picture.
"""

from __future__ import annotations

from statistics import NormalDist

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import Array
from ppl_vae.plots.figure import Size, open_panel, style_ticks
from ppl_vae.plots.image_grid import as_images, show_picture, tile
from ppl_vae.plots.labels import latent_name, number_labels

Extent = tuple[tuple[float, float], tuple[float, float]]

QUANTILE_TICKS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
LONG_SIDE = 4.5
# Digits of so few pixels fill their frame and would run into each other.
SMALL_TILE = 16


def plot_manifold(
    images: Array,
    extent: Extent | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw the decoded grid with axes in latent coordinates, z₁ to the right and z₂ upwards.

    Args:
        images: decoded grid, [rows, cols, *event]; row 0 has the largest z₂, column 0 the smallest z₁.
        extent: ((z₁ of the first column, z₁ of the last), (z₂ of the bottom row, z₂ of the top row)) of a
            grid with equal steps; None for the midpoints of equal shares of the standard normal.
        title: above the picture.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: fewer than two rows or columns, or no images.
        ModelError: an extent whose ends are not in order.
    """
    grid = as_images(images, ("rows", "cols"))
    rows, cols, height, width = grid.shape[:4]
    if rows < 2 or cols < 2:
        raise DataError(f"images: expected a grid of at least 2 by 2 tiles, found {rows} by {cols}")
    if extent is not None and not all(low < high for low, high in extent):
        raise ModelError(f"extent: expected two pairs (low, high) with low < high, found {extent}")
    edges = (0.0, 1.0, 0.0, 1.0) if extent is None else (*_edges(extent[0], cols), *_edges(extent[1], rows))
    picture_aspect = rows * height / (cols * width)
    scale = LONG_SIDE / max(1.0, picture_aspect)
    height_in_inches = scale * picture_aspect + 0.45 - 0.05 * (title is not None)
    figure, axes = open_panel(scale + 0.5, height_in_inches, title, ax, figsize)
    axis_aspect = picture_aspect * (edges[1] - edges[0]) / (edges[3] - edges[2])
    show_picture(axes, tile(grid), edges, axis_aspect)
    if max(height, width) < SMALL_TILE:
        _separate(axes, rows, cols, edges)
    axes.set_anchor("SW")
    if extent is None:
        _quantile_ticks(axes)
    style_ticks(axes)
    axes.set_xlabel(latent_name(0), fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel(latent_name(1), fontsize=style.LABEL_SIZE, color=style.INK, rotation=0)
    return figure


def _separate(axes: Axes, rows: int, cols: int, edges: tuple[float, float, float, float]) -> None:
    """Draw white lines between tiles, over the picture so that they shift no coordinate."""
    left, right, bottom, top = edges
    for k in range(1, cols):
        axes.axvline(left + (right - left) * k / cols, color="white", linewidth=1.0)
    for k in range(1, rows):
        axes.axhline(bottom + (top - bottom) * k / rows, color="white", linewidth=1.0)


def _edges(interval: tuple[float, float], tiles: int) -> tuple[float, float]:
    """Compute the edges of the outer tiles, half a step beyond the centres of the first and the last."""
    first, last = interval
    half_step = 0.5 * (last - first) / (tiles - 1)
    return first - half_step, last + half_step


def _quantile_ticks(axes: Axes) -> None:
    shares = [NormalDist().cdf(z) for z in QUANTILE_TICKS]
    labels = number_labels(QUANTILE_TICKS)
    axes.set_xticks(shares, labels)
    axes.set_yticks(shares, labels)
