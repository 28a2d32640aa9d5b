"""The rate-distortion plane (Alemi et al. 2018, https://arxiv.org/abs/1711.00464): -E log p(x|z) against the KL.

ELBO = −(rate + distortion), so that models of one ELBO lie on one falling diagonal, and a weight on the KL moves
a model along the frontier.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, draw_legend, open_panel, style_axes
from ppl_vae.plots.labels import number_labels
from ppl_vae.plots.point_labels import label_points

NAME_SIZE = 7
PALE = "#bdbdbd"
DASHES = (0, (4, 2))


def plot_rate_distortion(
    table: xr.Dataset, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw one point per recipe, its mean over the seeds with one standard deviation, and the frontier.

    Full points are on the frontier: no other recipe has both a smaller rate and a smaller distortion. The
    dashed diagonals have one ELBO each, written at their ends.

    Args:
        table: of ``compare_recipes``; all recipes under one likelihood, since distortions of two do not compare.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    _check(table)
    mean = table[["rate", "distortion"]].mean("seed")
    rate, distortion = mean["rate"].to_numpy(), mean["distortion"].to_numpy()
    figure, axes = open_panel(5.2, 4.4, title, ax, figsize)
    style_axes(axes)
    axes.grid(visible=False)
    on_frontier = frontier(rate, distortion)
    order = np.flatnonzero(on_frontier)[rate[on_frontier].argsort()]
    axes.plot(rate[order], distortion[order], color=style.BLUE, linewidth=1.0, alpha=0.6, zorder=1)
    if table.sizes["seed"] > 1:
        _draw_spread(axes, table, rate, distortion)
    for shown, face in ((on_frontier, style.BLUE), (~on_frontier, "white")):
        axes.scatter(
            rate[shown], distortion[shown], s=26, facecolor=face, edgecolor=style.BLUE, linewidth=1.1, zorder=3
        )
    _mark_best(axes, rate, distortion)
    axes.set_xlabel(
        r"rate, KL$(q(z \mid x) \,\|\, p(z))$, nats per datum", fontsize=style.LABEL_SIZE, color=style.INK
    )
    axes.set_ylabel(
        r"distortion, $-\mathrm{E}_q[\log p(x \mid z)]$, nats per datum", fontsize=style.LABEL_SIZE, color=style.INK
    )
    _fix_limits(axes, rate, distortion)
    _draw_diagonals(axes)
    handles = _handles(table.sizes["seed"], dominated=not on_frontier.all())
    draw_legend(figure, axes, ax is not None, handles=handles, ncols=4, columnspacing=1.2, handlelength=1.6)
    figure.draw_without_rendering()
    label_points(axes, rate, distortion, [str(name) for name in table["recipe"].to_numpy()], NAME_SIZE)
    return figure


def _check(table: xr.Dataset) -> None:
    missing = [name for name in ("rate", "distortion") if name not in table]
    if missing or not {"recipe", "seed"} <= set(table.dims) or 0 in table.sizes.values():
        raise DataError(
            "table: expected rate and distortion over recipe and seed, "
            f"found {', '.join(map(str, table.data_vars)) or 'nothing'} over {dict(table.sizes)}"
        )
    if not all(np.isfinite(table[name]).all() for name in ("rate", "distortion")):
        raise DataError("table: expected finite rates and distortions")
    likelihoods = sorted({str(name) for name in table["likelihood"].to_numpy()}) if "likelihood" in table else []
    if len(likelihoods) > 1:
        raise DataError(
            f"table: expected one likelihood, found {', '.join(likelihoods)}, whose distortions do not compare: "
            "choose recipes with table.sel(recipe=[...])"
        )


def frontier(rate: NDArray[np.float64], distortion: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the points that no other one equals or betters in both coordinates and betters in one.

    >>> frontier(np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 4.0])).tolist()
    [True, False, True]
    """
    no_worse = (rate[:, None] <= rate) & (distortion[:, None] <= distortion)
    better = (rate[:, None] < rate) | (distortion[:, None] < distortion)
    dominated: NDArray[np.bool_] = np.any(no_worse & better, axis=0)
    return ~dominated


def _draw_spread(axes: Axes, table: xr.Dataset, rate: NDArray[np.float64], distortion: NDArray[np.float64]) -> None:
    spread = table[["rate", "distortion"]].std("seed", ddof=1)
    axes.errorbar(
        rate, distortion, xerr=spread["rate"].to_numpy(), yerr=spread["distortion"].to_numpy(),
        fmt="none", ecolor=style.BLUE, elinewidth=0.8, capsize=1.5, alpha=0.7, zorder=2,
    )  # fmt: skip


def _mark_best(axes: Axes, rate: NDArray[np.float64], distortion: NDArray[np.float64]) -> None:
    """Draw a solid diagonal of the highest ELBO: all points lie above it."""
    best = (rate + distortion).argmin()
    axes.axline((rate[best], distortion[best]), slope=-1, color=style.VERMILION, linewidth=0.9, zorder=0.8)


def _fix_limits(axes: Axes, rate: NDArray[np.float64], distortion: NDArray[np.float64]) -> None:
    for values, set_limits, below in ((rate, axes.set_xlim, 0.07), (distortion, axes.set_ylim, 0.12)):
        span = max(float(np.ptp(values)), 0.1)
        set_limits(values.min() - below * span, values.max() + 0.12 * span)


def _draw_diagonals(axes: Axes) -> None:
    """Draw lines of equal ELBO; each says its value where it leaves the frame, outside if that is free of ticks."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    levels = np.asarray(MaxNLocator(nbins=10, steps=[1, 2, 2.5, 5, 10]).tick_values(left + bottom, right + top))
    for level in levels[(levels > left + bottom) & (levels < right + top)]:
        axes.axline((0.0, level), slope=-1, color=PALE, linewidth=0.7, linestyle=DASHES, zorder=0.5)
        (text,) = number_labels([-level])
        if bottom < level - right < top:
            _annotate(axes, text, (right, level - right), (3, 0), "left", "center")
        elif left < level - top < right:
            _annotate(axes, text, (level - top, top), (0, 3), "center", "bottom")
        elif left < level - bottom < right:
            _annotate(axes, text, (level - bottom, bottom), (2, 4), "left", "bottom")


def _annotate(
    axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], ha: str, va: str
) -> None:
    axes.annotate(
        text, point, offset, textcoords="offset points", ha=ha, va=va,
        fontsize=NAME_SIZE, color=style.REFERENCE, annotation_clip=False,
    )  # fmt: skip


def _handles(num_seeds: int, dominated: bool) -> list[Line2D]:
    spread = f", ±1 sd over {num_seeds} seeds" if num_seeds > 1 else ""
    marks = [
        Line2D([], [], color=style.BLUE, linewidth=1.0, marker="o", markersize=5, label=f"frontier{spread}"),
        Line2D(
            [],
            [],
            linestyle="",
            color=style.BLUE,
            marker="o",
            markersize=5,
            markerfacecolor="white",
            label="dominated",
        ),
        Line2D([], [], color=style.VERMILION, linewidth=0.9, label="best ELBO"),
        Line2D([], [], color=PALE, linewidth=0.7, linestyle=DASHES, label="equal ELBO"),
    ]
    return marks if dominated else [mark for mark in marks if mark.get_label() != "dominated"]
