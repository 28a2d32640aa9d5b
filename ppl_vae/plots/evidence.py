"""The importance bound against the number of draws: has it come to rest?"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, open_panel, style_axes

CURVES = {
    "importance": (style.BLUE, "o", "importance bound"),
    "jackknife": (style.VERMILION, "s", "jackknife"),
}


def plot_evidence_curve(
    curve: xr.Dataset,
    reference: float | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw the bound and its jackknife with two standard errors of Monte Carlo, over the number of draws.

    Args:
        curve: of ``inference.evidence_curve``.
        reference: log p(x) from elsewhere, as an annealed or exact mean over the same data, nats per datum.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in CURVES if name not in curve or f"{name}_stderr" not in curve]
    if missing or "num_samples" not in curve.dims:
        raise DataError(
            f"curve: expected a Dataset of evidence_curve; missing {', '.join(missing) or 'num_samples'}"
        )
    figure, axes = open_panel(4.4, 3.0, title, ax, figsize)
    style_axes(axes)
    draws = curve["num_samples"].to_numpy()
    for name, (colour, marker, label) in CURVES.items():
        values, error = curve[name].to_numpy(), 2 * curve[f"{name}_stderr"].to_numpy()
        known = np.isfinite(values)
        if not known.all():
            label += f" ({(~known).sum()} of {len(known)} not finite, not drawn)"
        axes.errorbar(
            draws[known], values[known], yerr=error[known], color=colour, marker=marker, markersize=4,
            linewidth=1.3, capsize=2, label=label,
        )  # fmt: skip
    if reference is not None:
        axes.axhline(
            reference, color=style.REFERENCE, linestyle="--", linewidth=1.0, label=r"$\log p(x)$ from elsewhere"
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(r"draws $K$", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel("nats per datum", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.legend(frameon=False, fontsize=style.TICK_SIZE, labelcolor=style.INK, loc="lower right")
    return figure


def _plain(value: float, _: int | None) -> str:
    return f"{value:g}"
