"""Latent arithmetic before a judge: the share of the data in which each attribute changes along a direction."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import check_finite
from ppl_vae.plots.figure import Size, draw_legend, open_panel, style_axes
from ppl_vae.renamed import renamed

MARKERS = ("s", "^", "D", "v", "P", "X")


@renamed(table="numbers")
def plot_attribute_changes(
    numbers: xr.Dataset, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw the changed share of every attribute over alpha, with bars of one standard error.

    Args:
        numbers: of ``diagnostics.run_arithmetic``.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: the table is another one.
    """
    if not {"changed", "changed_stderr"} <= set(numbers.data_vars) or "moved" not in numbers.attrs:
        raise DataError(f"table: expected what run_arithmetic returns, found {list(numbers.data_vars)}")
    for name in ("changed", "changed_stderr"):
        check_finite(f"table[{name!r}]", numbers[name].to_numpy())
    figure, axes = open_panel(5.2, 3.4, title, ax, figsize)
    style_axes(axes)
    moved, order = numbers.attrs["moved"], np.argsort(numbers["alpha"].to_numpy())
    names = [str(name) for name in numbers["attribute"].to_numpy()]
    others = [name for name in names if name != moved]
    alpha = numbers["alpha"].to_numpy()[order]
    for name in [*others, moved]:
        curve = numbers.sel(attribute=name).isel(alpha=order)
        index = -1 if name == moved else others.index(name)
        axes.errorbar(
            alpha, curve["changed"].to_numpy(), yerr=curve["changed_stderr"].to_numpy(), label=name,
            color=style.VERMILION if name == moved else style.CLASS_COLOURS[(index + 2) % len(style.CLASS_COLOURS)],
            marker="o" if name == moved else MARKERS[index % len(MARKERS)],
            markersize=4, linewidth=1.6 if name == moved else 1.0, elinewidth=0.8, capsize=1.5,
        )  # fmt: skip
    axes.axvline(0.0, color=style.REFERENCE, linewidth=0.8, zorder=1)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(rf"$\alpha$ in $z + \alpha v$, $v$: {moved}", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel("share judged otherwise", fontsize=style.LABEL_SIZE, color=style.INK)
    draw_legend(figure, axes, ax is not None, ncols=5)
    return figure
