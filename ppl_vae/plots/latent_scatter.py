"""Codes of data in two latent dimensions, coloured by a class or a factor, over the standard normal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import Array, check_finite, check_length, to_numpy
from ppl_vae.plots.figure import Size, open_panel, style_axes, style_ticks
from ppl_vae.plots.labels import latent_name

PRIOR_RADII = (1, 2, 3)
MOST_BAR_LABELS = 16


def plot_latent_scatter(
    codes: Array,
    labels: Array | Sequence[object] | None = None,
    dims: tuple[int, int] = (0, 1),
    prior_circles: bool = True,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw one point per datum, with circles at 1, 2 and 3 standard deviations of the prior N(0, I).

    Args:
        codes: codes of the data, such as the guide's means, [N, L] with L >= 2.
        labels: classes (integers, booleans or text) for a colour each, or a real-valued factor for a
            colour scale, [N].
        dims: which two latent dimensions to draw, counted from 0.
        prior_circles: False where the prior is not N(0, I).
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    points = _chosen(to_numpy(codes), dims)
    figure, axes = open_panel(4.1 if labels is None else 4.6, 3.75 + 0.25 * (title is None), title, ax, figsize)
    style_axes(axes)
    size = float(np.clip(15000 / len(points), 4, 25))
    scatter = axes.scatter(points[:, 0], points[:, 1], s=size, color=style.BLUE, alpha=0.7, linewidths=0, zorder=2)
    if prior_circles:
        _draw_prior(axes)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(latent_name(dims[0]), fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel(latent_name(dims[1]), fontsize=style.LABEL_SIZE, color=style.INK)
    if labels is not None:
        known = to_numpy(labels)
        check_length("labels", known, len(points), "code")
        colour(axes, scatter, known)
    return figure


def _chosen(codes: np.ndarray, dims: tuple[int, int]) -> np.ndarray:
    """Select the two columns that are drawn, [N, 2]."""
    if codes.ndim != 2 or codes.shape[1] < 2 or len(codes) == 0:
        raise DataError(f"codes: expected shape [N, L] with N >= 1 and L >= 2, found {codes.shape}")
    if len(dims) != 2 or not all(0 <= dim < codes.shape[1] for dim in dims):
        raise ModelError(f"dims: expected two of 0 to {codes.shape[1] - 1}, found {dims}")
    check_finite("codes", codes)
    return codes[:, list(dims)]


def _draw_prior(axes: Axes) -> None:
    for radius in PRIOR_RADII:
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=style.REFERENCE, linewidth=0.8, linestyle="--"))
    axes.update_datalim([(-3.1, -3.1), (3.1, 3.1)])
    axes.set_title("circles: prior N(0, I) at 1, 2, 3 sd", fontsize=7, color=style.REFERENCE, loc="right", pad=3)


def colour(axes: Axes, scatter: PathCollection, labels: np.ndarray) -> None:
    """Colour the points: classes get a legend, many a stepped colour bar, a real-valued factor a smooth one."""
    if np.issubdtype(labels.dtype, np.floating):
        check_finite("labels", labels)
        scatter.set(array=labels, cmap="viridis")
        _colour_bar(axes, scatter)
        return
    classes, index = np.unique(labels, return_inverse=True)
    few = len(classes) <= len(style.CLASS_COLOURS)
    palette = style.CLASS_COLOURS[: len(classes)] if few else colormaps["viridis"](np.linspace(0, 1, len(classes)))
    edges = np.arange(len(classes) + 1) - 0.5
    scatter.set(array=index, cmap=ListedColormap(palette), norm=BoundaryNorm(edges, len(classes)))
    if few:
        _legend(axes, classes)
    else:
        shown = np.arange(0, len(classes), math.ceil(len(classes) / MOST_BAR_LABELS))
        _colour_bar(axes, scatter).set_ticks(shown.tolist(), labels=[str(name) for name in classes[shown]])


def _colour_bar(axes: Axes, scatter: PathCollection) -> Colorbar:
    opaque = ScalarMappable(scatter.norm, scatter.cmap)
    bar = axes.figure.colorbar(opaque, ax=axes, shrink=0.8, aspect=30)
    style_ticks(bar.ax)
    bar.outline.set_visible(False)
    bar.minorticks_off()
    return bar


def _legend(axes: Axes, classes: np.ndarray) -> None:
    """Draw one round mark per class, outside the panel so that no point is covered."""
    marks = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=colour, label=str(name))
        for name, colour in zip(classes, style.CLASS_COLOURS, strict=False)
    ]
    axes.legend(
        handles=marks,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=style.TICK_SIZE,
        labelcolor=style.INK,
        handletextpad=0.1,
    )
