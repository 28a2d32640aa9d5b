"""The columns of a table beside those of replicates: does the model make such columns?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import style
from ppl_vae.plots.columns import (
    Table,
    as_table,
    column_names,
    edges_of,
    level_words,
    missing_words,
    name_levels,
    observed,
    short,
)
from ppl_vae.plots.figure import Size
from ppl_vae.plots.panels import label_edges, legend_below, panel_grid


def plot_marginals(
    x: Table,
    replicates: Table,
    names: Sequence[str] | None = None,
    max_panels: int = 16,
    title: str | None = None,
    *,
    figsize: Size | None = None,
) -> Figure:
    """Draw the histogram of every column of the data, and that of its replicates as a line.

    In the corner stands the two-sample Kolmogorov-Smirnov distance, the largest difference of the two distribution
    functions: 0 where they agree, 1 where they share no value.

    Args:
        x: the data [N, D]; NaN is a missing cell.
        replicates: such data as the model draws [M, D] or [R, N, D], as ``vae.sample(1000, True)`` gives.
        names: of the columns; by default those of a data frame, else x1 to xD.
        max_panels: where there are more columns, those with the largest distances are drawn, in their order.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: x is no table, replicates have other columns, or a column has no value.
        ModelError: max_panels is below 1.
    """
    data = as_table("x", x)
    drawn = as_table("replicates", replicates, data.shape[1], x)
    labels = column_names(names, x, data.shape[1])
    if max_panels < 1:
        raise ModelError(f"max_panels: expected at least 1, got {max_panels}")
    columns = [_column(label, data[:, i], drawn[:, i]) for i, label in enumerate(labels)]
    distance = np.array([ks_distance(*column) for column in columns])
    shown = np.sort(np.argsort(-distance, kind="stable")[:max_panels])
    figure, panels = panel_grid(
        [short(labels[i]) for i in shown], title, size=(1.75, 1.5), share=False, figsize=figsize
    )
    for axes, index in zip(panels, shown, strict=True):
        _draw(axes, *columns[int(index)], float(distance[index]), int(np.isnan(data[:, index]).sum()))
        name_levels(axes.xaxis, level_words(x, int(index)))
    label_edges(panels, "value", "density")
    legend: list[Line2D | Patch] = [
        Patch(color=style.BLUE, alpha=0.45, label=f"data ({len(data)} rows)"),
        Line2D([], [], color=style.VERMILION, linewidth=1.3, label=f"replicates ({len(drawn)} rows)"),
    ]
    if len(shown) < len(labels):
        words = f"{len(shown)} of {len(labels)} columns, those that differ most"
        legend.append(Line2D([], [], linestyle="", label=words))
    legend_below(figure, legend)
    return figure


def ks_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Compute the Kolmogorov-Smirnov distance of two samples.

    >>> ks_distance(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    both = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(each), both, side="right") / len(each) for each in (first, second)]
    return float(abs(shares[0] - shares[1]).max())


def _column(
    name: str, data: NDArray[np.float64], drawn: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pair = observed(data), observed(drawn)
    for what, values in zip(("x", "replicates"), pair, strict=True):
        if not len(values):
            raise DataError(f"{what}: column {name!r} has no value, all are missing")
    return pair


def _draw(axes: Axes, data: NDArray[np.float64], drawn: NDArray[np.float64], distance: float, missing: int) -> None:
    edges, beyond = edges_of(data, drawn)
    width = np.diff(edges)
    heights, _ = np.histogram(data, edges)
    axes.bar(
        edges[:-1],
        heights / (len(data) * width),
        width,
        align="edge",
        color=style.BLUE,
        alpha=0.45,
        linewidth=0,
        zorder=2,
    )
    heights, _ = np.histogram(drawn, edges)
    # Of all replicates, so that what lies beyond the panel is missing from the area as well.
    axes.stairs(heights / (len(drawn) * width), edges, color=style.VERMILION, linewidth=1.3, zorder=3)
    axes.set_xlim(edges[0], edges[-1])
    # Room for the words.
    axes.set_ylim(0.0, 1.3 * axes.dataLim.y1)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    words = [f"KS {distance:.2f}", missing_words(missing), f"{beyond} beyond" if beyond else ""]
    axes.text(
        0.98, 0.97, "\n".join(filter(None, words)), transform=axes.transAxes, ha="right", va="top",
        fontsize=style.TICK_SIZE - 1, color=style.INK, zorder=4,
    )  # fmt: skip
