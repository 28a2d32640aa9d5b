"""The evidence along a path through latent space, beside that of straight pixels."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, open_panel, style_axes

COLOURS = {"latent": style.BLUE, "pixels": style.VERMILION}


def plot_path_evidence(
    numbers: xr.Dataset, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw the mean of log p(x) along both paths, with two standard errors over pairs.

    Args:
        numbers: of ``diagnostics.run_interpolation``.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in ("log_evidence", "log_evidence_stderr") if name not in numbers]
    if missing or "path" not in numbers.dims:
        raise DataError(f"table: expected what run_interpolation returns; missing {', '.join(missing) or 'path'}")
    figure, axes = open_panel(4.2, 3.0, title, ax, figsize)
    style_axes(axes)
    for name, colour in COLOURS.items():
        at = numbers.sel(path=name)
        axes.errorbar(
            at["t"].to_numpy(), at["log_evidence"].to_numpy(), yerr=2 * at["log_evidence_stderr"].to_numpy(),
            color=colour, marker="o", markersize=3.5, linewidth=1.2, capsize=2, label=name,
        )  # fmt: skip
    axes.set_xlabel("t, from the first datum to the second", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel("log p(x), nats", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, labelcolor=style.INK)
    return figure
