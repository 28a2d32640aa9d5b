"""The guide beside a reference posterior: every pair of latent dimensions of one datum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, style_axes
from ppl_vae.plots.labels import coordinate_names, latent_name
from ppl_vae.renamed import renamed

MOST_DIMS = 4
MOST_POINTS = 1500
BINS = 40
# Highest-density regions that are outlined: what share of the guide's draws lies inside.
SHARES = (0.9, 0.5)


@renamed(table="numbers")
def plot_reference(
    numbers: xr.Dataset,
    datum: int | None = None,
    dims: Sequence[int] | None = None,
    title: str | None = None,
    *,
    reference: str = "HMC",
    figsize: Size | None = None,
) -> Figure:
    """Draw the reference as points and histograms, the guide as outlines of its 50% and 90% regions and as curves.

    Args:
        numbers: of ``diagnostics.run_reference``.
        datum: which of its data; None takes the global sites, where there are any, else the first datum.
        dims: which latent dimensions, counted from 0 over all sites; the first four by default.
        title: above the panels.
        reference: the name of the reference draws in the legend, where another sampler made them.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another one.
        ModelError: there is no such datum or dimension.
    """
    names, draws, guide = _draws(numbers, datum)
    chosen = list(range(min(MOST_DIMS, draws.shape[1]))) if dims is None else list(dims)
    if not chosen or not all(0 <= dim < draws.shape[1] for dim in chosen):
        raise ModelError(f"dims: expected some of 0 to {draws.shape[1] - 1}, found {dims}")
    count = len(chosen)
    side = max(3.2, 1.1 + 1.6 * count)
    figure = new_sheet(side, side + 0.25 * (title is not None), title, figsize)
    grid = figure.subplots(count, count, squeeze=False)
    limits = [_limits(draws[:, dim], guide[:, dim]) for dim in chosen]
    for row, below in enumerate(chosen):
        for column, across in enumerate(chosen):
            axes = grid[row, column]
            if column > row:
                axes.remove()
                continue
            style_axes(axes)
            if column == row:
                _draw_marginal(axes, draws[:, across], guide[:, across], limits[column])
            else:
                _draw_pair(axes, draws[:, [across, below]], guide[:, [across, below]])
                axes.set_ylim(limits[row])
            axes.set_xlim(limits[column])
            _label(axes, names[across], names[below], row == count - 1, column == 0 < row)
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=4,
            color=style.BLUE,
            label=_shown(reference, draws[:, chosen], limits),
        ),
        Line2D([], [], color=style.VERMILION, linewidth=1.4, label="guide (50% and 90%)" if count > 1 else "guide"),
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=style.TICK_SIZE,
        labelcolor=style.INK,
    )
    return figure


def _shown(name: str, draws: NDArray[np.float64], limits: Sequence[tuple[float, float]]) -> str:
    """Say how many draws of the reference are drawn as points, and how many lie beyond a frame."""
    points = draws[:: max(1, len(draws) // MOST_POINTS)]
    beyond = int(((draws < [low for low, _ in limits]) | (draws > [high for _, high in limits])).any(1).sum())
    said = [f"{len(points)} of {len(draws)} as points"] if len(points) < len(draws) and len(limits) > 1 else []
    said += [f"{beyond} beyond the frame"] if beyond else []
    return f"{name} ({', '.join(said)})" if said else name


def _draws(table: xr.Dataset, datum: int | None) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Collect the draws of the reference and of the guide, all sites side by side: their names, and [S, U] each."""
    sites = [str(name) for name in table.data_vars if f"guide_{name}" in table]
    if not sites:
        raise DataError("table: expected what run_reference returns")
    whole = [site for site in sites if "datum" not in table[site].dims]
    is_global = bool(whole) and datum is None
    sites = whole if is_global else [site for site in sites if site not in whole]
    datum = datum or 0
    if not is_global and not 0 <= datum < table.sizes.get("datum", 0):
        raise ModelError(f"datum: expected one of 0 to {table.sizes.get('datum', 0) - 1}, found {datum}")
    row = table[[*sites, *(f"guide_{site}" for site in sites)]]
    row = row if is_global else row.isel(datum=datum)
    first, second = (
        [row[f"{prefix}{site}"].to_numpy() for site in sites] for prefix in ("", "guide_")
    )  # [chain, draw, *event], [draw, *event]
    count = first[0].shape[0] * first[0].shape[1]
    names = [
        name for site, draws in zip(sites, first, strict=True) for name in coordinate_names(site, draws.shape[2:])
    ]
    return (
        names if is_global else [latent_name(index) for index in range(len(names))],
        np.concatenate([each.reshape(count, -1) for each in first], 1),
        np.concatenate([each.reshape(len(each), -1) for each in second], 1),
    )


def _limits(reference: NDArray[np.float64], guide: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(np.concatenate([reference, guide]), [0.001, 0.999])
    margin = 0.08 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _draw_marginal(
    axes: Axes, reference: NDArray[np.float64], guide: NDArray[np.float64], limits: tuple[float, float]
) -> None:
    bins = np.linspace(*limits, int(np.clip(len(reference) ** 0.5, 12, BINS)) + 1)
    axes.hist(reference, bins=bins.tolist(), density=True, color=style.BLUE, alpha=0.45, linewidth=0, zorder=2)
    axes.hist(
        guide, bins=bins.tolist(), density=True, histtype="step", color=style.VERMILION, linewidth=1.3, zorder=3
    )
    axes.set_yticks([])


def _draw_pair(axes: Axes, reference: NDArray[np.float64], guide: NDArray[np.float64]) -> None:
    step = max(1, len(reference) // MOST_POINTS)
    x, y = reference[::step].T
    axes.scatter(x, y, s=3, color=style.BLUE, alpha=0.35, linewidths=0, zorder=2, rasterized=True)
    *centres, density, levels = _outline(guide)
    if len(levels):
        axes.contour(
            *centres, density, levels=levels, colors=style.VERMILION, linewidths=[0.9, 1.4][: len(levels)], zorder=3
        )


def _outline(draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Smooth a histogram of draws [S, 2], and find the densities above which the shares lie, rising."""
    spread = np.maximum(draws.std(0), 1e-12)
    edges = [
        np.linspace(low - 1.5 * s, high + 1.5 * s, BINS + 1)
        for low, high, s in zip(draws.min(0), draws.max(0), spread, strict=True)
    ]
    counts, *_ = np.histogram2d(draws[:, 0], draws[:, 1], bins=(edges[0], edges[1]))
    centres = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    # A Gaussian kernel of Scott's width along either axis.
    blurs = []
    for centre, s in zip(centres, spread, strict=True):
        width = max(s * len(draws) ** (-1 / 6), centre[1] - centre[0])
        kernel = np.exp(-0.5 * ((centre[:, None] - centre) / width) ** 2)
        blurs.append(kernel / kernel.sum(0))
    counts = blurs[0] @ counts @ blurs[1].T
    ranked = np.sort(counts, axis=None)[::-1]
    share = ranked.cumsum() / ranked.sum()
    levels = np.unique([ranked[np.searchsorted(share, wanted)] for wanted in SHARES])
    return centres[0], centres[1], counts.T, levels


def _label(axes: Axes, across: str, below: str, lowest: bool, leftmost: bool) -> None:
    if lowest:
        axes.set_xlabel(across, fontsize=style.LABEL_SIZE, color=style.INK)
    else:
        axes.tick_params(labelbottom=False)
    if leftmost:
        axes.set_ylabel(below, fontsize=style.LABEL_SIZE, color=style.INK)
    else:
        axes.tick_params(labelleft=False)
