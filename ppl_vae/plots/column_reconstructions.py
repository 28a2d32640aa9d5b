"""The columns of a table against their reconstructions, each with its error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import style
from ppl_vae.plots.columns import Table, as_table, column_names, level_words, missing_words, name_levels, short
from ppl_vae.plots.figure import Size
from ppl_vae.plots.panels import label_edges, legend_below, panel_grid


def plot_column_reconstructions(
    x: Table,
    reconstruction: Table,
    names: Sequence[str] | None = None,
    max_panels: int = 16,
    title: str | None = None,
    *,
    figsize: Size | None = None,
) -> Figure:
    """Draw every cell's reconstruction over its value, one panel per column, with the error of the column.

    The error is the root of the mean square, in the units of the column. R² is the share of the column's variance
    that the reconstruction accounts for: 1 for a perfect one, 0 for one that always gives the mean. Of a category
    in both tables the share of right levels is told; a dot's area is the share of the rows in it.

    Args:
        x: the data [N, D]; a missing cell (NaN) has no point.
        reconstruction: [N, D], as ``vae.reconstruct(x)`` gives it. Of two frames columns are matched by name; an
            array has those of x in their order, and ``vae.model.likelihood.frame`` names those of a ``Columns``.
        names: of the columns; by default those of a data frame, else x1 to xD.
        max_panels: where there are more columns, those with the smallest R² are drawn, in order. Of a category it
            is the share of the mistakes of always the most frequent level that are not made.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: x is no table, the two differ in shape, a reconstruction is NaN, or a column has no value.
        ModelError: max_panels is below 1.
    """
    data = as_table("x", x)
    made = as_table("reconstruction", reconstruction, beside=x)
    if data.shape != made.shape:
        raise DataError(f"reconstruction: expected the shape of the data, {data.shape}, found {made.shape}")
    if np.isnan(made).any():
        raise DataError(f"reconstruction: {int(np.isnan(made).sum())} of {made.size} numbers are NaN")
    if max_panels < 1:
        raise ModelError(f"max_panels: expected at least 1, got {max_panels}")
    labels = column_names(names, x, data.shape[1])
    levels = [level_words(x, i) if level_words(reconstruction, i) else [] for i in range(len(labels))]
    judge = [level_error if each else column_error for each in levels]
    errors = np.array([judge[i](label, data[:, i], made[:, i]) for i, label in enumerate(labels)])
    # A constant column has no share of variance, and stands behind all others.
    shown = np.sort(np.argsort(np.nan_to_num(errors[:, 1], nan=2.0), kind="stable")[:max_panels])
    figure, panels = panel_grid(
        [short(labels[i]) for i in shown], title, size=(1.75, 1.75), share=False, figsize=figsize
    )
    for axes, index in zip(panels, shown, strict=True):
        if levels[index]:
            _draw_levels(axes, data[:, index], made[:, index], errors[index][0], levels[index])
        else:
            _draw(axes, data[:, index], made[:, index], *errors[index])
            name_levels(axes.xaxis, level_words(x, int(index)))
            name_levels(axes.yaxis, level_words(x, int(index)))
    label_edges(panels, "data", "reconstruction")
    legend = [
        Line2D([], [], linestyle="", marker="o", markersize=4, color=style.BLUE, label=f"{len(data)} rows"),
        Line2D([], [], color=style.REFERENCE, linewidth=0.9, label="equal"),
    ]
    if len(shown) < len(labels):
        words = f"{len(shown)} of {len(labels)} columns, those reconstructed worst"
        legend.append(Line2D([], [], linestyle="", label=words))
    legend_below(figure, legend)
    return figure


def column_error(name: str, x: NDArray[np.float64], reconstruction: NDArray[np.float64]) -> tuple[float, float]:
    """Compute the root mean square error of a column and the share of its variance that is accounted for.

    Raises:
        DataError: all cells are missing.

    >>> column_error("age", np.array([1.0, 3.0]), np.array([1.0, 2.0]))
    (0.7071067811865476, 0.5)
    """
    known = ~np.isnan(x)
    if not known.any():
        raise DataError(f"x: column {name!r} has no value, all are missing")
    square, variance = float(np.mean((x - reconstruction)[known] ** 2)), float(x[known].var())
    # The variance of one number alone is the rounding of its mean.
    return square**0.5, 1.0 - square / variance if np.ptp(x[known]) > 0 else float("nan")


def level_error(name: str, x: NDArray[np.float64], reconstruction: NDArray[np.float64]) -> tuple[float, float]:
    """Compute the share of wrong levels, and which share of the most frequent level's mistakes are not made.

    Raises:
        DataError: all cells are missing.

    >>> level_error("stage", np.array([0.0, 0, 0, 2]), np.array([0.0, 1, 0, 2]))
    (0.25, 0.0)
    """
    known = x[~np.isnan(x)]
    if not len(known):
        raise DataError(f"x: column {name!r} has no value, all are missing")
    wrong = float(np.mean((x != reconstruction)[~np.isnan(x)]))
    of_one = 1 - float(np.unique(known, return_counts=True)[1].max()) / len(known)
    return wrong, 1 - wrong / of_one if of_one > 0 else float("nan")


def _draw_levels(
    axes: Axes, x: NDArray[np.float64], reconstruction: NDArray[np.float64], wrong: float, words: Sequence[str]
) -> None:
    known = ~np.isnan(x)
    pairs, counts = np.unique(np.stack([x, reconstruction])[:, known], axis=1, return_counts=True)
    area = 200 * counts / known.sum()
    axes.scatter(pairs[0], pairs[1], s=area, color=style.BLUE, alpha=0.6, linewidths=0, zorder=2)
    ends = (-0.6, len(words) - 0.4)
    axes.plot(ends, ends, color=style.REFERENCE, linewidth=0.9, zorder=1)
    axes.set(xlim=ends, ylim=ends)
    name_levels(axes.xaxis, words)
    name_levels(axes.yaxis, words)
    _tell(axes, f"right {1 - wrong:.0%}", int((~known).sum()))


def _draw(
    axes: Axes, x: NDArray[np.float64], reconstruction: NDArray[np.float64], error: float, share: float
) -> None:
    known = ~np.isnan(x)
    size = float(np.clip(1500 / known.sum(), 3, 14))
    axes.scatter(
        x[known],
        reconstruction[known],
        s=size,
        color=style.BLUE,
        alpha=0.5,
        linewidths=0,
        zorder=2,
        rasterized=True,
    )
    both = np.concatenate([x[known], reconstruction[known]])
    margin = 0.05 * float(np.ptp(both)) or 0.5
    low, high = float(both.min()) - margin, float(both.max()) + margin
    axes.plot([low, high], [low, high], color=style.REFERENCE, linewidth=0.9, zorder=1)
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    words = f"RMSE {error:.3g}" + ("" if np.isnan(share) else f"\nR² {share:.2f}".replace("-", "\N{MINUS SIGN}"))
    _tell(axes, words, int((~known).sum()))


def _tell(axes: Axes, words: str, num_missing: int) -> None:
    words += f"\n{missing_words(num_missing)}" if num_missing else ""
    axes.text(
        0.04,
        0.96,
        words,
        transform=axes.transAxes,
        ha="left",
        va="top",
        fontsize=style.TICK_SIZE - 1,
        color=style.INK,
    )
