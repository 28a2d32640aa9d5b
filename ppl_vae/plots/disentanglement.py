"""Scores of disentanglement, each beside its level by chance."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, draw_legend, open_panel, style_axes

COLOURS = (style.BLUE, style.VERMILION, style.GREEN)
# It has no level of 1, and would not stand on the scale of the others.
LEFT_OUT = "gaussian total correlation"


def plot_disentanglement(
    numbers: xr.Dataset, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw every score with two standard errors, and the band of two spreads about its level by chance.

    The error is over runs where there are several, else over samples. Representations stand side by side.

    Args:
        numbers: of ``run_disentanglement`` or ``score_codes``.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    needed = ("mean", "stderr", "stderr_over_runs", "chance", "chance_spread")
    missing = [name for name in needed if name not in numbers]
    if missing:
        raise DataError(f"numbers: expected what run_disentanglement returns, found no {', '.join(missing)}")
    scores = [name for name in numbers["metric"].values if name != LEFT_OUT]
    figure, axes = open_panel(6.4, 1.2 + 0.36 * len(scores), title, ax, figsize)
    style_axes(axes)
    kinds = [str(kind) for kind in numbers["representation"].values]
    rows = np.arange(len(scores))
    for index, kind in enumerate(kinds):
        part = numbers.sel(representation=kind, metric=scores)
        place = rows + 0.24 * (index - (len(kinds) - 1) / 2)
        chance, spread = (part[name].mean("run").to_numpy() for name in ("chance", "chance_spread"))
        axes.hlines(place, chance - 2 * spread, chance + 2 * spread, color=style.REFERENCE, linewidth=4, alpha=0.5)
        axes.plot(
            chance, place, "|", color=style.REFERENCE, markersize=9, label="by chance" if index == 0 else None
        )
        error = part["stderr_over_runs"] if part.sizes["run"] > 1 else part["stderr"].isel(run=0)
        axes.errorbar(
            part["mean"].to_numpy(), place, xerr=2 * np.nan_to_num(error.to_numpy()), fmt="o",
            color=COLOURS[index % len(COLOURS)], markersize=4, capsize=2, label=kind,
        )  # fmt: skip
    axes.set_yticks(rows, scores, fontsize=style.TICK_SIZE, color=style.INK)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("score (whiskers: 2 standard errors)", fontsize=style.LABEL_SIZE, color=style.INK)
    draw_legend(figure, axes, ax is not None, ncols=4)
    return figure
