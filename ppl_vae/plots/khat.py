"""The k-hat of every datum with its thresholds, and the data on which it is worst."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import Array, to_numpy
from ppl_vae.plots.columns import short
from ppl_vae.plots.figure import Size, new_sheet, style_axes
from ppl_vae.plots.image_grid import as_images, grid_figure, wrap
from ppl_vae.renamed import renamed

GOOD_KHAT, MOST_NAMED = 0.5, 3
BOX = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.8}


@renamed(ds="numbers")
def plot_khat(numbers: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw the k-hat of every datum with the thresholds, and its histogram beside; the worst are named by "datum".

    Args:
        numbers: of ``diagnostics.run_importance``. Data whose weights are constant, or allow no fit, have no point;
            their number is written above.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.
    """
    khat, exact = _khat(numbers)
    figure = new_sheet(6.5, 2.9 + 0.25 * (title is not None), title, figsize)
    points, histogram = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    finite, limit = np.isfinite(khat), float(numbers.attrs["threshold"])
    for axes in (points, histogram):
        style_axes(axes)
        for level in (GOOD_KHAT, limit):
            axes.axhline(level, color=style.REFERENCE, linewidth=1.0, linestyle="--", zorder=1)
    above = finite & (khat > limit)
    for chosen, colour in ((finite & ~above, style.BLUE), (above, style.VERMILION)):
        points.scatter(np.flatnonzero(chosen), khat[chosen], s=6, color=colour, linewidth=0, alpha=0.7, zorder=2)
    _draw_histogram(histogram, khat[finite], limit)
    _name_worst(points, numbers, khat, limit)
    points.set_xlim(-0.02 * len(khat) - 0.5, 1.02 * len(khat) - 0.5)
    points.set_xlabel("datum", fontsize=style.LABEL_SIZE, color=style.INK)
    points.set_ylabel(r"Pareto $\hat{k}$", fontsize=style.LABEL_SIZE, color=style.INK)
    histogram.set_xlabel("data", fontsize=style.LABEL_SIZE, color=style.INK)
    points.set_title(
        _counts(khat, exact, int(above.sum()), limit), fontsize=style.TICK_SIZE, color=style.INK, loc="left"
    )
    return figure


def _name_worst(axes: Axes, ds: xr.Dataset, khat: NDArray[np.float64], limit: float) -> None:
    """Name the largest beyond the threshold, where data have names other than their places."""
    if "datum" not in ds.coords or np.array_equal(ds["datum"], np.arange(len(khat))):
        return
    for place in worst_first(khat, MOST_NAMED) if np.isfinite(khat).any() else ():
        if khat[place] > limit:
            name, left = str(ds["datum"].to_numpy()[place]), place > len(khat) / 2
            axes.annotate(
                short(name, 16), (place, khat[place]), (-4 if left else 4, 0), textcoords="offset points",
                fontsize=style.TICK_SIZE - 1, color=style.INK, ha="right" if left else "left", va="center",
            )  # fmt: skip


def _draw_histogram(axes: Axes, khat: NDArray[np.float64], limit: float) -> None:
    if not len(khat):
        return
    # The threshold is an edge, so that no bar has two colours.
    width = max(float(np.ptp(khat)) / 30, 0.02)
    below, beyond = (math.ceil(max(0.0, side) / width) + 1 for side in (limit - khat.min(), khat.max() - limit))
    edges = limit + width * np.arange(-below, beyond + 1)
    counts, _ = np.histogram(khat, edges)
    colours = [style.BLUE if edge < limit - width / 2 else style.VERMILION for edge in edges[:-1]]
    axes.barh(edges[:-1], counts, height=width, align="edge", color=colours, linewidth=0, zorder=2)


def _counts(khat: NDArray[np.float64], exact: NDArray[np.bool_], above: int, limit: float) -> str:
    parts = [f"{above} of {len(khat)} data above {limit:.2f}"]
    unfit = int((~np.isfinite(khat) & ~exact).sum())
    parts += [f"{int(exact.sum())} exact"] if exact.any() else []
    parts += [f"{unfit} without a fit"] if unfit else []
    return ", ".join(parts)


@renamed(ds="numbers")
def plot_worst_data(
    x: Array,
    numbers: xr.Dataset,
    count: int = 16,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw the data with the largest k-hat, worst first, each with its k-hat; rows of a table: ``plot_worst_rows``.

    Args:
        x: the images that ``numbers`` is of, [N, *event].
        numbers: of ``diagnostics.run_importance``.
        count: how many at most; data without a finite k-hat are left out.
        title: above the images.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: the images are not those of the table, or no datum has a finite k-hat.
    """
    khat = khat_of(numbers)
    images = to_numpy(x)
    if len(images) != len(khat):
        raise DataError(f"images: expected {len(khat)}, one for each datum of the table, found {len(images)}")
    if images.ndim == 2:
        raise DataError(f"images: found a table of {images.shape[1]} columns; plot_worst_rows draws its rows")
    worst = worst_first(khat, count)
    columns = min(8, len(worst))
    grid = wrap(as_images(images[worst]), columns)
    unfit = int((~np.isfinite(khat)).sum())
    note = f"{unfit} of {len(khat)} data have no finite k-hat" * (unfit > 0)
    figure = grid_figure(grid, column_axis=note, title=title, ax=ax, figsize=figsize)
    axes = figure.axes[0] if ax is None else ax
    for place, datum in enumerate(worst):
        axes.text(
            place % columns - 0.44, place // columns + 0.42, f"{khat[datum]:.2f}", fontsize=style.TICK_SIZE - 2,
            color=style.INK, ha="left", va="bottom", bbox=BOX,
        )  # fmt: skip
    return figure


def khat_of(ds: xr.Dataset) -> NDArray[np.float64]:
    """The k-hat of every datum [N]; NaN or infinite where there is none.

    Raises:
        DataError: the table is none of ``run_importance``.
    """
    return _khat(ds)[0]


def worst_first(khat: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The places of the largest finite k-hats, at most ``count``, the largest first.

    Raises:
        DataError: none is finite.
    """
    order = np.argsort(np.where(np.isfinite(khat), -khat, np.inf), kind="stable")
    worst = order[: min(count, int(np.isfinite(khat).sum()))]
    if not len(worst):
        raise DataError("table: no datum has a finite k-hat, so that none is worst")
    return worst


def _khat(ds: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if "khat" not in ds or "exact" not in ds or "threshold" not in ds.attrs:
        raise DataError("table: expected a Dataset of run_importance, with khat, exact and a threshold")
    return ds["khat"].to_numpy(), ds["exact"].to_numpy().astype(bool)
