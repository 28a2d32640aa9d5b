"""The gain of each change over a baseline, in nats, with its standard error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, open_panel, style_axes


def plot_gains(
    gains: Mapping[str, tuple[float, float]],
    label: str = "gain, nats per datum",
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw one point per change with whiskers of two standard errors, from top to bottom as given.

    A change whose whiskers stay right of 0 is blue, one whose whiskers stay left of it vermilion, any other grey.

    Args:
        gains: a difference from the baseline and its standard error, by name; the error may be 0.
        label: of the axis: what is gained, on which data, over which baseline.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: there is no gain, or one is not two finite numbers, the second at least 0.
    """
    table = np.array([_checked(name, gain) for name, gain in gains.items()])
    if not len(table):
        raise DataError("gains: expected at least one, found none")
    value, error = table.T
    figure, axes = open_panel(6.0, 0.9 + 0.32 * len(table), title, ax, figsize)
    style_axes(axes)
    rows = np.arange(len(table))
    colours = np.where(
        value > 2 * error, style.BLUE, np.where(value < -2 * error, style.VERMILION, style.REFERENCE)
    )
    axes.axvline(0.0, color=style.INK, linewidth=0.8, zorder=1)
    for row, x, stderr, colour in zip(rows, value, error, colours, strict=True):
        axes.errorbar(x, row, xerr=2 * stderr, fmt="o", color=str(colour), markersize=5, capsize=2.5, zorder=2)
    axes.set_yticks(rows, list(gains), fontsize=style.TICK_SIZE, color=style.INK)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{label} (whiskers: 2 standard errors)", fontsize=style.LABEL_SIZE, color=style.INK)
    return figure


def _checked(name: str, gain: tuple[float, float]) -> tuple[float, float]:
    try:
        value, error = map(float, gain)
    except (TypeError, ValueError):
        raise DataError(f"gains[{name!r}]: expected a difference and its standard error, found {gain!r}") from None
    if not (np.isfinite(value) and np.isfinite(error) and error >= 0):
        raise DataError(f"gains[{name!r}]: expected two finite numbers, an error of at least 0, found {gain!r}")
    return value, error
