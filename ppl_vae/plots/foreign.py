"""Held-out and foreign data side by side: histograms of log p(x), and how well each score tells them apart."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, style_axes

BINS = 40
REQUIRED = ("scores", "auroc", "auroc_stderr", "mean_log_evidence")


def plot_foreign(numbers: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw log p(x) of every set, and the area under the ROC curve of every score with two standard errors.

    Args:
        numbers: of ``diagnostics.run_foreign``.
        title: above both panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in REQUIRED if name not in numbers]
    if missing:
        raise DataError(f"table: expected what run_foreign returns; missing {', '.join(missing)}")
    sheet = new_sheet(8.2, 3.0 + 0.25 * (title is not None), title, figsize)
    left, right = sheet.subplots(1, 2)
    log_p = numbers["scores"].sel(score="log_evidence")
    low, high = np.nanmin(log_p), np.nanmax(log_p)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
    colours = [style.REFERENCE, style.BLUE, style.VERMILION, style.GREEN]
    for index, name in enumerate(numbers["set"].values):
        values = log_p.sel(set=name).dropna("datum").to_numpy()
        colour = colours[index % len(colours)]
        kind = "stepfilled" if index == 0 else "step"
        left.hist(
            values, edges, density=True, histtype=kind, color=colour, alpha=0.5 if index == 0 else 1.0,
            linewidth=1.4, label=str(name),
        )  # fmt: skip
    left.set_xlabel("log p(x), nats", fontsize=style.LABEL_SIZE, color=style.INK)
    left.set_yticks([])
    left.legend(fontsize=style.TICK_SIZE, frameon=False, labelcolor=style.INK)
    scores = [str(name).replace("_", " ") for name in numbers["score"].values]
    places, sets = np.arange(len(scores)), numbers["foreign"].values
    for index, name in enumerate(sets):
        at = numbers.sel(foreign=name)
        shift = 0.12 * (index - (len(sets) - 1) / 2)
        right.errorbar(
            at["auroc"].to_numpy(), places + shift, xerr=2 * at["auroc_stderr"].to_numpy(), fmt="o", markersize=4,
            color=colours[(index + 1) % len(colours)], capsize=2, linewidth=1.2,
        )  # fmt: skip
    right.axvline(0.5, color=style.REFERENCE, linewidth=0.8)
    right.set_yticks(places, scores)
    right.invert_yaxis()
    right.set_xlim(-0.02, 1.02)
    right.set_xlabel("area under the ROC curve", fontsize=style.LABEL_SIZE, color=style.INK)
    for axes in (left, right):
        style_axes(axes)
    return sheet
