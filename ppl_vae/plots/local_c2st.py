"""The statistic of the local classifier test at every datum, before what it is where nothing is wrong."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, draw_legend, open_panel, style_axes

REQUIRED = ("statistic", "null_statistic", "found")
BAND = (0.05, 0.95)


def plot_local_c2st(
    numbers: xr.Dataset, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw t(x) of every datum, in order of size, over the middle 90% of its values where nothing is wrong.

    Args:
        numbers: of ``diagnostics.run_local_c2st``.
        title: above the axes.
        ax: axes to draw on; new ones by default.
        figsize: width and height in inches of a new figure.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in REQUIRED if name not in numbers]
    if missing:
        raise DataError(f"table: expected what run_local_c2st returns; missing {', '.join(missing)}")
    figure, axes = open_panel(5.0, 3.0, title, ax, figsize)
    order = np.argsort(numbers["statistic"].to_numpy())
    statistic, found = (numbers[name].to_numpy()[order] for name in ("statistic", "found"))
    low, high = np.quantile(numbers["null_statistic"].to_numpy()[:, order], BAND, axis=0)
    place = np.arange(len(order))
    axes.vlines(place, low, high, color=style.REFERENCE, alpha=0.5, linewidth=3, label="nothing wrong, 90%")
    for chosen, colour, label in ((~found, style.BLUE, "not found"), (found, style.VERMILION, "found")):
        if chosen.any():
            axes.plot(place[chosen], statistic[chosen], "o", color=colour, markersize=4, label=label)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("datum, in order of t(x)", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel("t(x), mean square of f", fontsize=style.LABEL_SIZE, color=style.INK)
    draw_legend(figure, axes, ax is not None, ncols=3)
    style_axes(axes)
    return figure
