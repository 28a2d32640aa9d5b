"""Rank calibration as ECDF differences: inside the band the guide passes; outside it the shape shows the fault.

A curve that is first above 0, then below: the truth is too often at the ends, the draws are too narrow. First
below, then above: too wide. Below throughout: the draws are shifted low; above throughout: shifted high.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import check_finite
from ppl_vae.plots.figure import Size
from ppl_vae.plots.panels import label_edges, legend_below, panel_grid

BAND = "#d9d9d9"
REQUIRED = ("ecdf_difference", "p_value", "band_lower", "band_upper")


def plot_calibration(
    calibration: xr.Dataset, max_panels: int = 20, title: str | None = None, *, figsize: Size | None = None
) -> Figure:
    """Draw the ECDF of the ranks less that of uniform ones, one panel per quantity, with simultaneous bands.

    Args:
        calibration: of ``run_calibration``.
        max_panels: where there are more quantities, those with the smallest p-values are drawn, in their order.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in REQUIRED if name not in calibration]
    if missing or not {"quantity", "fraction"} <= set(calibration.dims):
        raise DataError(f"calibration: expected what run_calibration returns; missing {', '.join(missing)}")
    check_finite("calibration['ecdf_difference']", calibration["ecdf_difference"].to_numpy())
    count = calibration.sizes["quantity"]
    shown = np.sort(np.argsort(calibration["p_value"].to_numpy(), kind="stable")[:max_panels])
    figure, panels = panel_grid([str(calibration["quantity"].item(i)) for i in shown], title, figsize=figsize)
    fraction, lower, upper = (calibration[name].to_numpy() for name in ("fraction", "band_lower", "band_upper"))
    ends = np.array([0.0]), np.array([1.0])
    for axes, index in zip(panels, shown, strict=True):
        curve = calibration["ecdf_difference"].isel(quantity=index).to_numpy()
        outside = bool(((curve < lower) | (curve > upper)).any())
        axes.fill_between(fraction, lower, upper, color=BAND, linewidth=0, zorder=1)
        axes.axhline(0.0, color=style.REFERENCE, linewidth=0.8, zorder=1.5)
        # With the ends, where every ECDF is that of uniform ranks.
        x, y = np.concatenate([ends[0], fraction, ends[1]]), np.pad(curve, 1)
        axes.plot(x, y, color=style.VERMILION if outside else style.BLUE, linewidth=1.3, zorder=2)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_xlim(0, 1)
    weighted = calibration.attrs.get("importance_weighted")
    label_edges(panels, "weighted rank / L" if weighted else "rank / L", "ECDF \N{MINUS SIGN} uniform")
    level = f"{100 * calibration.attrs['band_level']:.0f}% band of all {count} curves together"
    if len(shown) < count:
        level += f", {len(shown)} shown"
    legend_below(
        figure,
        [
            Patch(color=BAND, label=level),
            Line2D([], [], color=style.BLUE, linewidth=1.3, label="inside"),
            Line2D([], [], color=style.VERMILION, linewidth=1.3, label="outside"),
        ],
    )
    return figure
