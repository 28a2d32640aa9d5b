"""Expected coverage against the nominal level: a guide is too wide above the diagonal, too narrow below it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import check_finite
from ppl_vae.plots.figure import Size
from ppl_vae.plots.panels import label_edges, legend_below, panel_grid

BAND = "#d9d9d9"
REQUIRED = ("coverage", "band_lower", "band_upper", "atc", "atc_stderr")
HEADINGS = {"central": "central intervals", "highest density": "highest density", "TARP": "TARP"}


def plot_coverage(coverage: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw the share of truths that regions hold against their nominal level, one panel per kind of region.

    The central intervals of all latent dimensions share a panel; curves that leave the band are drawn in another
    colour, and the worst of them is named.

    Args:
        coverage: of ``run_coverage``.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in REQUIRED if name not in coverage]
    if missing or not {"region", "nominal"} <= set(coverage.dims):
        raise DataError(f"coverage: expected what run_coverage returns; missing {', '.join(missing)}")
    check_finite("coverage['coverage']", coverage["coverage"].to_numpy())
    kinds = [kind for kind in HEADINGS if kind in coverage["kind"].to_numpy()]
    figure, panels = panel_grid(
        [HEADINGS[kind] for kind in kinds], title, columns=3, size=(2.2, 2.3), figsize=figsize
    )
    nominal, lower, upper = (coverage[name].to_numpy() for name in ("nominal", "band_lower", "band_upper"))
    level, ends = np.concatenate([[0.0], nominal, [1.0]]), (0.0, 1.0)
    for axes, kind in zip(panels, kinds, strict=True):
        axes.fill_between(nominal, lower, upper, color=BAND, linewidth=0, zorder=1)
        axes.plot(ends, ends, color=style.REFERENCE, linewidth=0.8, zorder=1.5)
        chosen = coverage.isel(region=np.flatnonzero(coverage["kind"].to_numpy() == kind))
        for curve in chosen["coverage"].to_numpy():
            outside = bool(((curve < lower) | (curve > upper)).any())
            axes.plot(
                level, np.concatenate([[0.0], curve, [1.0]]), color=style.VERMILION if outside else style.BLUE,
                linewidth=1.2, alpha=1.0 if chosen.sizes["region"] < 6 else 0.6, zorder=2 + outside,
            )  # fmt: skip
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        _write(axes, _remark(kind, chosen, coverage))
    label_edges(panels, "nominal level", "share of truths inside")
    label = f"{100 * coverage.attrs['band_level']:.0f}% band of all {coverage.sizes['region']} curves together"
    legend_below(
        figure,
        [
            Patch(color=BAND, label=label),
            Line2D([], [], color=style.BLUE, linewidth=1.2, label="inside"),
            Line2D([], [], color=style.VERMILION, linewidth=1.2, label="outside"),
        ],
    )
    return figure


def _remark(kind: str, chosen: xr.Dataset, coverage: xr.Dataset) -> str:
    if kind == "TARP":
        sign = f"{float(coverage['atc']):+.3f}".replace("-", "\N{MINUS SIGN}")
        return f"ATC {sign}\n± {float(coverage['atc_stderr']):.3f}"
    curves = chosen["coverage"].to_numpy()
    off = abs(curves - chosen["nominal"].to_numpy())
    outside = ((curves < chosen["band_lower"].to_numpy()) | (curves > chosen["band_upper"].to_numpy())).any(1)
    if kind != "central" or not outside.any():
        return ""
    farthest = chosen["region"].item(int(off.max(1).argmax()))
    return f"{int(outside.sum())} of {len(curves)} outside,\nfarthest {farthest}"


def _write(axes: Axes, text: str) -> None:
    axes.text(
        0.97,
        0.05,
        text,
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        fontsize=style.TICK_SIZE - 1,
        color=style.INK,
    )
