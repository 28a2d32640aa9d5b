"""Predictive checks: statistics of replicated data sets, with those of the data among them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import check_finite
from ppl_vae.plots.figure import Size
from ppl_vae.plots.panels import label_edges, legend_below, panel_grid

REQUIRED = ("observed", "replicated", "p_value")
LOOKS = {
    "population": (style.BLUE, r"population: $x \sim p(z)\,p(x \mid z)$"),
    "local": (style.GREEN, r"local: $z \sim q(z \mid x_n)$, optimistic"),
}


def plot_predictive(predictive: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw histograms of every statistic over replicated data sets, of both kinds, and the data's own as a line.

    Args:
        predictive: of ``run_predictive``.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in REQUIRED if name not in predictive]
    if missing or not {"kind", "statistic", "draw"} <= set(predictive.dims):
        raise DataError(f"predictive: expected what run_predictive returns; missing {', '.join(missing)}")
    check_finite("predictive['observed']", predictive["observed"].to_numpy())
    check_finite("predictive['replicated']", predictive["replicated"].to_numpy())
    names = [str(name) for name in predictive["statistic"].to_numpy()]
    figure, panels = panel_grid(names, title, columns=2, size=(3.0, 1.7), share=False, figsize=figsize)
    kinds = [str(kind) for kind in predictive["kind"].to_numpy()]
    for axes, name in zip(panels, names, strict=True):
        of = predictive.sel(statistic=name)
        for kind in kinds:
            _draw_histogram(axes, of["replicated"].sel(kind=kind).to_numpy(), LOOKS[kind][0])
        axes.axvline(float(of["observed"]), color=style.INK, linewidth=1.4, zorder=3)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        _fit_width(axes, np.append(of["replicated"].to_numpy().ravel(), float(of["observed"])))
        floor = 2 / (predictive.sizes["draw"] + 1)
        _write_p_values(axes, [(LOOKS[kind][0], float(of["p_value"].sel(kind=kind))) for kind in kinds], floor)
    label_edges(panels, "statistic of a data set", "replicates")
    handles = [Patch(color=LOOKS[kind][0], alpha=0.55, label=LOOKS[kind][1]) for kind in kinds]
    legend_below(figure, [*handles, Line2D([], [], color=style.INK, linewidth=1.4, label="the data")])
    return figure


def _draw_histogram(axes: Axes, values: NDArray[np.float64], colour: str) -> None:
    """Draw bins of Freedman and Diaconis, at most 40; a line where all values are equal."""
    if np.ptp(values) <= 1e-9 * max(1e-300, float(abs(values).max())):
        axes.axvline(values[0], color=colour, linewidth=2.5, alpha=0.55, zorder=2)
        return
    bins = min(40, len(np.histogram_bin_edges(values, "fd")) - 1)
    axes.hist(values, bins=max(5, bins), density=True, color=colour, alpha=0.55, linewidth=0, zorder=2)


def _fit_width(axes: Axes, values: NDArray[np.float64]) -> None:
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)


def _write_p_values(axes: Axes, found: list[tuple[str, float]], floor: float) -> None:
    """Write p-values above the panel in the colours of the histograms; a bound where no replicate is as extreme."""
    for row, (colour, p_value) in enumerate(reversed(found)):
        text = f"p {'≤' if p_value <= floor else '='} {p_value:.3f}"
        axes.annotate(
            text, (1.0, 1.0), (-50 * row, 4), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="bottom", fontsize=style.TICK_SIZE, color=colour,
        )  # fmt: skip
