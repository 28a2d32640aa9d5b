"""The data beside what the model simulates: log p(x), the distance of the code, and the p-values."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, style_axes
from ppl_vae.renamed import renamed

BINS = 30
REQUIRED = ("p_value", "log_evidence", "distance", "simulated_log_evidence", "simulated_distance")


@renamed(table="numbers")
def plot_typicality(numbers: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw both statistics of the data and of simulated data, and how many p-values lie below each level.

    Args:
        numbers: of ``diagnostics.run_typicality``.
        title: above all panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in REQUIRED if name not in numbers]
    if missing:
        raise DataError(f"table: expected what run_typicality returns; missing {', '.join(missing)}")
    sheet = new_sheet(9.0, 2.8 + 0.25 * (title is not None), title, figsize)
    left, middle, right = sheet.subplots(1, 3)
    ours, theirs = (numbers[name].to_numpy() for name in ("log_evidence", "simulated_log_evidence"))
    _beside(left, ours, theirs, "log p(x), nats")
    ours, theirs = (numbers[name].to_numpy() for name in ("distance", "simulated_distance"))
    _beside(middle, np.sqrt(ours), np.sqrt(theirs), "distance of the code, sd")
    middle.legend(fontsize=style.TICK_SIZE, frameon=False, labelcolor=style.INK)
    _levels(right, np.sort(numbers["p_value"].to_numpy()))
    return sheet


def _beside(axes: Axes, ours: NDArray[np.float64], theirs: NDArray[np.float64], label: str) -> None:
    low, high = np.quantile(np.concatenate([ours, theirs]), [0.0, 1.0])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
    axes.hist(theirs, edges, density=True, color=style.REFERENCE, alpha=0.6, label="simulated")
    axes.hist(ours, edges, density=True, histtype="step", color=style.BLUE, linewidth=1.4, label="data")
    axes.set_xlabel(label, fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_yticks([])
    style_axes(axes)


def _levels(axes: Axes, p_values: NDArray[np.float64]) -> None:
    share = np.arange(1, len(p_values) + 1) / len(p_values)
    axes.plot([0, 1], [0, 1], color=style.REFERENCE, linewidth=0.8)
    axes.step(p_values, share, where="post", color=style.VERMILION, linewidth=1.3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("p-value", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel("share of data below", fontsize=style.LABEL_SIZE, color=style.INK)
    style_axes(axes)
