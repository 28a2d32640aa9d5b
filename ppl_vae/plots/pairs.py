"""Pairs of columns of a table, with replicates beside the data: do the columns hang together as they should?"""

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
from ppl_vae.plots.columns import (
    Table,
    as_table,
    column_names,
    edges_of,
    level_words,
    name_levels,
    observed,
)
from ppl_vae.plots.figure import Size, new_sheet, style_axes
from ppl_vae.plots.panels import legend_below

MOST_COLUMNS = 5
MOST_POINTS = 1000


def plot_pairs(
    x: Table,
    replicates: Table | None = None,
    names: Sequence[str] | None = None,
    columns: Sequence[int | str] | None = None,
    title: str | None = None,
    *,
    figsize: Size | None = None,
) -> Figure:
    """Draw every pair of some columns as points, and every column alone as a histogram on the diagonal.

    Args:
        x: the data [N, D]; a row with a missing cell (NaN) is left out where that cell is needed.
        replicates: such data as the model draws [M, D] or [R, N, D], or None.
        names: of the columns; by default those of a data frame, else x1 to xD.
        columns: which, by name or counted from 0; the first five by default.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: x is no table, replicates have other columns, or a column has no value.
        ModelError: there is no such column.
    """
    data = as_table("x", x)
    drawn = (
        np.empty((0, data.shape[1])) if replicates is None else as_table("replicates", replicates, data.shape[1], x)
    )
    labels = column_names(names, x, data.shape[1])
    chosen = _chosen(columns, labels)
    empty = [labels[i] for i in chosen if not len(observed(data[:, i]))]
    if empty:
        raise DataError(f"x: column {empty[0]!r} has no value, all are missing")
    count = len(chosen)
    side = max(3.0, 0.8 + 1.35 * count)
    figure = new_sheet(side, side + 0.3 + 0.25 * (title is not None), title, figsize)
    grid: list[list[Axes]] = figure.subplots(count, count, squeeze=False).tolist()
    bins = [edges_of(observed(data[:, i]), observed(drawn[:, i])) for i in chosen]
    kinds = [(data, style.BLUE, "data"), (drawn, style.VERMILION, "replicates")][: 1 + (replicates is not None)]
    for row, column in np.ndindex(count, count):
        axes = grid[row][column]
        if column > row:
            axes.remove()
            continue
        style_axes(axes)
        if row == column:
            _draw_marginal(axes, [(observed(of[:, chosen[row]]), colour) for of, colour, _ in kinds], bins[row][0])
        else:
            _draw_points(axes, [(of[:, [chosen[column], chosen[row]]], colour) for of, colour, _ in kinds])
            axes.set_ylim(_frame(bins[row][0]))
        axes.set_xlim(_frame(bins[column][0]))
        _label(axes, labels[chosen[column]], labels[chosen[row]], row == count - 1, column == 0)
        if row == count - 1:
            name_levels(axes.xaxis, level_words(x, chosen[column]))
        if column == 0 < row:
            name_levels(axes.yaxis, level_words(x, chosen[row]))
    beyond = sum(number for _, number in bins)
    legend_below(
        figure,
        [_entry(of, colour, kind, beyond, min(MOST_POINTS, len(data))) for of, colour, kind in kinds],
        columns=1,
    )
    if count < len(labels):
        words = f"{count} of {len(labels)} columns"
        figure.text(0.99, 0.99, words, ha="right", va="top", fontsize=style.TICK_SIZE, color=style.INK)
    return figure


def _chosen(columns: Sequence[int | str] | None, labels: list[str]) -> list[int]:
    if columns is None:
        return list(range(min(MOST_COLUMNS, len(labels))))
    places = []
    for column in columns:
        if isinstance(column, str) and column in labels:
            places.append(labels.index(column))
        elif isinstance(column, int) and 0 <= column < len(labels):
            places.append(column)
        else:
            raise ModelError(
                f"columns: expected some of {', '.join(labels)} or 0 to {len(labels) - 1}, got {column!r}"
            )
    if not places:
        raise ModelError("columns: expected at least one, got none")
    return places


def _frame(edges: NDArray[np.float64]) -> tuple[float, float]:
    margin = 0.04 * (edges[-1] - edges[0])
    return float(edges[0] - margin), float(edges[-1] + margin)


def _thinned(table: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Take at most so many rows at equal steps."""
    return table[np.linspace(0, len(table) - 1, min(most, len(table))).astype(int)]


def _draw_marginal(
    axes: Axes, columns: Sequence[tuple[NDArray[np.float64], str]], edges: NDArray[np.float64]
) -> None:
    width = np.diff(edges)
    for values, colour in columns:
        heights, _ = np.histogram(values, edges)
        heights = heights / (max(1, len(values)) * width)
        if colour == style.BLUE:
            axes.bar(edges[:-1], heights, width, align="edge", color=colour, alpha=0.45, linewidth=0, zorder=2)
        else:
            axes.stairs(heights, edges, color=colour, linewidth=1.3, zorder=3)
    axes.set_yticks([])


def _draw_points(axes: Axes, tables: Sequence[tuple[NDArray[np.float64], str]]) -> None:
    # As many replicates as data, so that the clouds are as dense where they agree.
    most = min(MOST_POINTS, len(tables[0][0]))
    for table, colour in reversed(tables):
        across, up = _thinned(table, most).T
        axes.scatter(across, up, s=5, color=colour, alpha=0.5, linewidths=0, zorder=2, rasterized=True)


def _entry(table: NDArray[np.float64], colour: str, kind: str, beyond: int, most: int) -> Line2D:
    """Name a kind of points with how many are drawn, have a missing cell, or lie beyond a frame."""
    points = _thinned(table, most)
    said = f"{len(points)} of {len(table)} rows" if len(points) < len(table) else f"{len(table)} rows"
    missing = int(np.isnan(table).any(1).sum())
    said += f", {missing} with missing cells" if missing else ""
    said += f", {beyond} cells beyond a frame" if beyond and kind == "replicates" else ""
    return Line2D([], [], linestyle="", marker="o", markersize=4, color=colour, label=f"{kind} ({said})")


def _label(axes: Axes, across: str, up: str, lowest: bool, leftmost: bool) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(3))
    if axes.get_yticks().size:
        axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelbottom=lowest, labelleft=leftmost)
    if lowest:
        axes.set_xlabel(across, fontsize=style.LABEL_SIZE, color=style.INK)
    if leftmost:
        axes.set_ylabel(up, fontsize=style.LABEL_SIZE, color=style.INK)
