"""Silhouettes and neighbours' accuracy of classes in several kinds of codes, each beside its level by chance."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, draw_legend, open_panel, style_axes

COLOURS = (style.BLUE, style.VERMILION)


def plot_class_structure(
    numbers: xr.Dataset, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw both scores with two standard errors, and their levels by chance, a row for each kind of codes.

    Args:
        numbers: of ``run_class_structure``.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in ("value", "stderr", "chance") if name not in numbers]
    if missing:
        raise DataError(f"numbers: expected what run_class_structure returns, found no {', '.join(missing)}")
    kinds = [str(kind) for kind in numbers["codes"].values]
    figure, axes = open_panel(6.4, 1.2 + 0.45 * len(kinds), title, ax, figsize)
    style_axes(axes)
    rows = np.arange(len(kinds))
    for index, name in enumerate(numbers["score"].values):
        part, place = numbers.sel(score=name), rows + 0.24 * (index - 0.5)
        axes.plot(
            part["chance"].to_numpy(), place, "|", color=style.REFERENCE, markersize=9,
            label="by chance" if index == 0 else None,
        )  # fmt: skip
        axes.errorbar(
            part["value"].to_numpy(), place, xerr=2 * np.nan_to_num(part["stderr"].to_numpy()), fmt="o",
            color=COLOURS[index % len(COLOURS)], markersize=4, capsize=2, label=str(name),
        )  # fmt: skip
    axes.set_yticks(rows, kinds, fontsize=style.TICK_SIZE, color=style.INK)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("score (whiskers: 2 standard errors)", fontsize=style.LABEL_SIZE, color=style.INK)
    draw_legend(figure, axes, ax is not None, ncols=3)
    return figure
