"""The rows of a table on which k-hat is largest: their cells, and how unusual each is in its column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.columns import Table, as_table, column_names, level_words, short
from ppl_vae.plots.figure import Size, open_panel, say_left_out
from ppl_vae.plots.khat import khat_of, worst_first

# Standard deviations at which the shade is full, and beyond which a number is written in white.
FULL_SHADE, DARK = 3.0, 2.2
SHADES, NO_SHADE = "PuOr_r", "#d9d9d9"
SHADE = "shade: standard deviations from\nthe column's mean, orange above it"
CELL_WIDTH, CELL_HEIGHT = 0.52, 0.25


def plot_worst_rows(
    x: Table,
    numbers: xr.Dataset,
    names: Sequence[str] | None = None,
    count: int = 10,
    max_columns: int = 12,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw the rows with the largest k-hat, worst first, each with its name and its k-hat.

    A cell holds its number; its shade says how many standard deviations it is from the mean of its column over all
    of x. Where there are more columns, those are shown in which the rows are most unusual, and the rest is counted.

    Args:
        x: the table [N, D] that ``numbers`` are of; NaN is a missing cell.
        numbers: of ``diagnostics.run_importance``; its coordinate "datum" names the rows.
        names: of the columns; by default those of a data frame, else x1 to xD.
        count: how many rows at most; data without a finite k-hat are left out.
        max_columns: how many columns at most.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: x is no table, or not that of ``numbers``, or no datum has a finite k-hat.
    """
    values = as_table("x", x)
    khat = khat_of(numbers)
    if len(values) != len(khat):
        raise DataError(f"x: expected {len(khat)} rows, one for each datum of the table, found {len(values)}")
    _require_same_rows(x, numbers)
    if count < 1 or max_columns < 1:
        raise DataError(f"count and max_columns: expected at least 1, got {count} and {max_columns}")
    labels, worst = column_names(names, x, values.shape[1]), worst_first(khat, count)
    unusual = _unusual(values)[worst]
    shown = _most_unusual(unusual, max_columns)
    width = 1.9 + CELL_WIDTH * len(shown)
    figure, axes = open_panel(width, 1.3 + CELL_HEIGHT * len(worst), title, ax, figsize)
    _draw_cells(axes, values[worst][:, shown], unusual[:, shown], [level_words(x, int(i)) for i in shown])
    rows = numbers["datum"].to_numpy()
    told = [rf"{short(str(rows[row]), 16)}   {khat[row]:.2f}" for row in worst]
    axes.set_yticks(range(len(worst)), told, fontsize=style.TICK_SIZE, color=style.INK)
    axes.set_xticks(range(len(shown)), [short(labels[i]) for i in shown], fontsize=style.TICK_SIZE, color=style.INK)
    axes.tick_params(axis="x", labelrotation=40, length=0)
    axes.tick_params(axis="y", length=0)
    for text in axes.get_xticklabels():
        text.set(horizontalalignment="right", rotation_mode="anchor")
    axes.set_ylabel(r"row and its $\hat{k}$", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_xlabel(SHADE, fontsize=style.TICK_SIZE, color=style.INK)
    say_left_out(axes, _left_out(khat, len(shown), values.shape[1]))
    return figure


def _require_same_rows(x: Table, numbers: xr.Dataset) -> None:
    """Refuse a frame whose rows have the names of the data in another order."""
    if not isinstance(x, pd.DataFrame):
        return
    own, theirs = ([str(name) for name in names] for names in (x.index, numbers["datum"].to_numpy()))
    if own != theirs and sorted(own) == sorted(theirs):
        raise DataError("x: its rows are those of the numbers in another order; give x.loc[numbers['datum']]")


def _unusual(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances from the mean of a column in its standard deviations [N, D]; 0 where a column is constant."""
    # Whole columns may be missing, of which there is no mean.
    seen = ~np.isnan(values)
    filled, number = np.where(seen, values, 0.0), np.maximum(seen.sum(0), 1)
    mean = filled.sum(0) / number
    apart = np.where(seen, values - mean, 0.0)
    scale = np.sqrt((apart**2).sum(0) / number)
    return np.where(seen, apart / np.where(scale > 0, scale, 1.0), np.nan)


def _most_unusual(unusual: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """The columns [M] whose cells are the most unusual, in the order of the table."""
    squares = np.nan_to_num(unusual**2).sum(0)
    return np.sort(np.argsort(-squares, kind="stable")[:most])


def _draw_cells(
    axes: Axes, cells: NDArray[np.float64], unusual: NDArray[np.float64], words: Sequence[Sequence[str]]
) -> None:
    axes.set_facecolor(NO_SHADE)
    axes.imshow(unusual, cmap=SHADES, vmin=-FULL_SHADE, vmax=FULL_SHADE, aspect="auto", interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(cells.shape[1] - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(cells.shape[0] - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0)
    axes.tick_params(which="minor", length=0)
    for (row, column), cell in np.ndenumerate(cells):
        text = "\N{EN DASH}" if np.isnan(cell) else _written(cell, words[column])
        colour = "white" if abs(unusual[row, column]) > DARK else style.INK
        axes.text(column, row, text, fontsize=style.TICK_SIZE - 1.5, color=colour, ha="center", va="center")


def _written(cell: float, words: Sequence[str] = ()) -> str:
    """Write a number in three digits, or as a whole one where that is short; a category by its word."""
    if words:
        return short(words[int(cell)], 8)
    return f"{cell:.0f}" if 1_000 <= abs(cell) < 100_000 else f"{cell:.3g}"


def _left_out(khat: NDArray[np.float64], shown: int, columns: int) -> str:
    unfit = int((~np.isfinite(khat)).sum())
    parts = [f"{shown} of {columns} columns"] * (shown < columns)
    parts += [f"{unfit} of {len(khat)} rows have no finite k-hat"] * (unfit > 0)
    return ", ".join(parts)
