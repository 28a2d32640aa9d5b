"""The gap of the ELBO: the part of the family and the part of the encoder, on average and per datum."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, say_left_out, style_axes
from ppl_vae.renamed import renamed

PARTS = (
    ("approximation_gap", style.BLUE, "family (approximation)"),
    ("amortisation_gap", style.VERMILION, "encoder (amortisation)"),
)


@renamed(table="numbers")
def plot_gaps(numbers: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw the two parts of the mean gap as one bar per split, and those of every test datum as a point.

    Whiskers are two standard errors of each part. Below the line in the second panel the family costs more than the
    encoder.

    Args:
        numbers: of ``diagnostics.run_gaps``.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another one.
    """
    needed = [*(f"mean_{name}" for name, *_ in PARTS), *(name for name, *_ in PARTS)]
    if any(name not in numbers for name in needed):
        raise DataError(f"table: expected what run_gaps returns; missing {[n for n in needed if n not in numbers]}")
    figure = new_sheet(7.0, 3.2 + 0.25 * (title is not None), title, figsize)
    bars, points = figure.subplots(1, 2)
    for axes in (bars, points):
        style_axes(axes)
    _draw_bars(bars, numbers)
    _draw_data(points, *(numbers[name].to_numpy() for name, *_ in PARTS))
    figure.legend(
        *bars.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False,
        fontsize=style.TICK_SIZE, labelcolor=style.INK,
    )  # fmt: skip
    return figure


def _draw_bars(axes: Axes, table: xr.Dataset) -> None:
    splits = [str(name) for name in table["split"].to_numpy()]
    # By number: an axis of names holds an itertools.count, which Python 3.14 no longer pickles.
    rows, left = np.arange(len(splits)), np.zeros(len(splits))
    for name, colour, label in PARTS:
        value = table[f"mean_{name}"].to_numpy()
        axes.barh(rows, value, 0.5, left=left, color=colour, label=label, zorder=2)
        error = 2 * table[f"mean_{name}_stderr"].to_numpy()
        axes.errorbar(
            left + value, rows, xerr=error, fmt="none", ecolor=style.INK, elinewidth=0.9, capsize=2.5, zorder=3
        )
        left = left + value
    axes.grid(visible=False, axis="y")
    axes.set_yticks(rows, splits)
    axes.set_ylim(len(splits) - 0.5, -0.5)
    axes.axvline(0, color=style.INK, linewidth=0.8)
    axes.set_xlabel(r"$\log p(x) - $ELBO, nats per datum", fontsize=style.LABEL_SIZE, color=style.INK)


def _draw_data(axes: Axes, family: NDArray[np.float64], encoder: NDArray[np.float64]) -> None:
    known = np.isfinite(family) & np.isfinite(encoder)
    left_out = int((~known).sum())
    say_left_out(axes, f"{left_out} of {len(known)} data without a finite gap, not drawn" * (left_out > 0))
    family, encoder = family[known], encoder[known]
    if not len(family):
        return
    size = float(np.clip(6000 / len(family), 4, 22))
    axes.scatter(family, encoder, s=size, color=style.INK, alpha=0.5, linewidths=0, zorder=3)
    top = 1.06 * max(family.max(), encoder.max(), 1e-12)
    axes.plot([0, top], [0, top], color=style.REFERENCE, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
    low = min(0.0, family.min(), encoder.min()) - 0.03 * top
    axes.set_xlim(low, top)
    axes.set_ylim(low, top)
    axes.set_xlabel("approximation gap of a datum, nats", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel("amortisation gap, nats", fontsize=style.LABEL_SIZE, color=style.INK)
