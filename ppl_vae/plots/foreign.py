"""Held-out and foreign data side by side: histograms of log p(x), and how well each score tells them apart."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, style_axes

BINS = 40
# Of the held-out data, then of each foreign set.
COLOURS = (style.REFERENCE, style.BLUE, style.VERMILION, style.GREEN)
# Of sets beyond the number of colours.
LINES, MARKERS = ("-", "--", ":"), "os^"
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
    _histograms(left, numbers["scores"].sel(score="log_evidence"))
    _areas(right, numbers)
    return sheet


def _histograms(axes: Axes, log_p: xr.DataArray) -> None:
    low, high = np.nanmin(log_p), np.nanmax(log_p)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
    for index, name in enumerate(log_p["set"].values):
        values = log_p.sel(set=name).dropna("datum").to_numpy()
        axes.hist(
            values, edges, density=True, histtype="stepfilled" if index == 0 else "step",
            color=COLOURS[index % len(COLOURS)], linestyle=LINES[index // len(COLOURS) % len(LINES)],
            alpha=0.5 if index == 0 else 1.0, linewidth=1.4, label=str(name),
        )  # fmt: skip
    axes.set_xlabel("log p(x), nats", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_yticks([])
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, labelcolor=style.INK)
    style_axes(axes)


def _areas(axes: Axes, numbers: xr.Dataset) -> None:
    scores = [str(name).replace("_", " ") for name in numbers["score"].values]
    places, sets = np.arange(len(scores)), numbers["foreign"].values
    for index, name in enumerate(sets):
        at = numbers.sel(foreign=name)
        shift = min(0.12, 0.7 / len(sets)) * (index - (len(sets) - 1) / 2)
        axes.errorbar(
            at["auroc"].to_numpy(), places + shift, xerr=2 * at["auroc_stderr"].to_numpy(), markersize=4,
            fmt=MARKERS[(index + 1) // len(COLOURS) % len(MARKERS)], color=COLOURS[(index + 1) % len(COLOURS)],
            capsize=2, linewidth=1.2,
        )  # fmt: skip
    axes.axvline(0.5, color=style.REFERENCE, linewidth=0.8)
    axes.set_yticks(places, scores)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("area under the ROC curve", fontsize=style.LABEL_SIZE, color=style.INK)
    style_axes(axes)
