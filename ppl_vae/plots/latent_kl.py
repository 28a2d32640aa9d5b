"""Posterior collapse: the nats that every latent dimension of several runs holds, the fullest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import Array, check_finite, to_numpy
from ppl_vae.plots.figure import Size, draw_legend, open_panel, style_axes
from ppl_vae.plots.labels import number_labels

MARKERS = ("o", "s", "^", "D", "v")
# Nothing is to be seen further down than this part of the threshold.
LOWEST_PART = 0.01


def plot_latent_kl(
    kl: Mapping[str, Array | object],
    threshold: float = 0.01,
    unit: str = "nats per datum",
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw KL(q(z_u|x) || p(z_u)) over latent dimensions in falling order, one curve per run, on a log axis.

    The legend says how many dimensions of each run are above the threshold. What is smaller than a hundredth of
    the threshold stands on the lower edge.

    Args:
        kl: the mean over data of every latent dimension [L] by the name of the run, as ``run_collapse(...)["kl"]``
            gives it; L may differ.
        threshold: below it a dimension counts as collapsed.
        unit: of the numbers.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: no run, or one whose numbers are not a row of finite ones; the run is named.
    """
    rows = _checked(kl, threshold)
    figure, axes = open_panel(5.2, 3.6, title, ax, figsize)
    style_axes(axes)
    axes.set_yscale("log")
    lowest = LOWEST_PART * threshold
    longest = max(len(row) for row in rows.values())
    axes.axhspan(lowest, threshold, color="#f2f2f2", zorder=0)
    axes.axhline(threshold, color=style.REFERENCE, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    for index, (name, row) in enumerate(rows.items()):
        _draw_run(axes, index, f"{name}: {(row > threshold).sum()} of {len(row)}", np.maximum(row, lowest))
    (text,) = number_labels([threshold])
    # Curves fall to the right, so this corner is the emptiest.
    axes.annotate(
        f"collapsed: below {text}", (0, lowest), (4, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="bottom", fontsize=style.TICK_SIZE, color=style.INK,
    )  # fmt: skip
    axes.set_xlim(0.5 - 0.02 * longest, longest + 0.5 + 0.02 * longest)
    axes.set_ylim(0.8 * lowest, 1.6 * max(threshold, *(row.max() for row in rows.values())))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlabel("latent dimension, in order of its KL", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel(rf"KL$(q(z_u \mid x) \,\|\, p(z_u))$, {unit}", fontsize=style.LABEL_SIZE, color=style.INK)
    legend = draw_legend(
        figure,
        axes,
        ax is not None,
        ncols=2,
        title="active dimensions",
        title_fontproperties={"size": style.TICK_SIZE},
    )
    legend.get_title().set_color(style.INK)
    return figure


def _checked(kl: Mapping[str, Any], threshold: float) -> dict[str, NDArray[np.float64]]:
    if not isinstance(kl, Mapping) or not kl:
        raise DataError(f"kl: expected the numbers of at least one run by its name, got {type(kl).__name__}")
    if not 0 < threshold < np.inf:
        raise DataError(f"threshold: expected a positive number, got {threshold!r}")
    rows = {}
    for name, values in kl.items():
        row = np.asarray(to_numpy(values), dtype=np.float64)
        if row.ndim != 1 or not len(row):
            raise DataError(
                f"kl of {name!r}: expected one number per latent dimension [L], found shape {row.shape}"
            )
        check_finite(f"kl of {name!r}", row)
        rows[str(name)] = np.sort(row)[::-1]
    return rows


def _draw_run(axes: Axes, index: int, label: str, row: NDArray[np.float64]) -> None:
    colour = style.CLASS_COLOURS[index % len(style.CLASS_COLOURS)]
    axes.plot(
        np.arange(1, len(row) + 1),
        row,
        color=colour,
        linewidth=1.1,
        marker=MARKERS[index % len(MARKERS)],
        markersize=3.6,
        label=label,
        zorder=3,
        clip_on=False,
    )
