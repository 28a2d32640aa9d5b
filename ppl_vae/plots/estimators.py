"""The estimator laboratory in figures: variance against cost, single values, SNR over K, variance over training.

All take the Dataset of ``inference.compare_estimators``; several of them joined along "num_particles" or
"epoch" by ``xarray.concat`` for the last two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Sheet, Size, draw_legend, new_sheet, open_panel, say_left_out, style_axes
from ppl_vae.plots.panels import label_edges
from ppl_vae.plots.point_labels import label_points
from ppl_vae.renamed import renamed

NAME_SIZE = 6.5
OF_ELBO = {True: (style.BLUE, "the ELBO"), False: (style.VERMILION, "another bound")}
DASHES = ("-", (0, (4, 1.5)))
MARKERS = ("o", "s")


@renamed(table="numbers")
def plot_estimator_cost(numbers: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw gradient variance against time, one panel per group of parameters, with the efficient frontier.

    Full points are on the frontier: no other estimator has a smaller variance without taking longer.

    Args:
        numbers: of ``compare_estimators``.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.
    """
    _require(numbers, ("gradient_variance", "milliseconds", "of_elbo"), ("estimator", "group"))
    figure, panels = _panels(numbers, title, figsize)
    names = [str(name) for name in numbers["estimator"].to_numpy()]
    time, of_elbo = numbers["milliseconds"].to_numpy(), numbers["of_elbo"].to_numpy().astype(bool)
    for axes, group in zip(panels, numbers["group"].to_numpy(), strict=True):
        variance = numbers["gradient_variance"].sel(group=group).to_numpy()
        _draw_frontier(axes, time, variance, of_elbo)
        _say_not_drawn(axes, names, time, variance)
    label_edges(panels, "milliseconds per value and gradient", "gradient variance (trace)")
    for axes in panels:
        _plain_ticks(axes.xaxis)
        low, high = axes.get_ylim()
        if high < 10 * low:
            _plain_ticks(axes.yaxis)
    _cost_legend(figure, of_elbo)
    figure.draw_without_rendering()
    for axes, group in zip(panels, numbers["group"].to_numpy(), strict=True):
        variance = numbers["gradient_variance"].sel(group=group).to_numpy()
        drawn = np.flatnonzero(_has_point(time, variance))
        label_points(axes, time[drawn], variance[drawn], [names[i] for i in drawn], NAME_SIZE)
    return figure


def _draw_frontier(
    axes: Axes, time: NDArray[np.float64], variance: NDArray[np.float64], of_elbo: NDArray[np.bool_]
) -> None:
    drawn = _has_point(time, variance)
    no_worse = (time[:, None] <= time) & (variance[:, None] <= variance)
    better = (time[:, None] < time) | (variance[:, None] < variance)
    front = drawn & ~(no_worse & better)[drawn].any(0)
    order = np.flatnonzero(front)[time[front].argsort()]
    axes.step(time[order], variance[order], where="post", color=style.REFERENCE, linewidth=1.0, zorder=1)
    for kind, (colour, _) in OF_ELBO.items():
        for shown, face in ((front, colour), (drawn & ~front, "white")):
            chosen = shown & (of_elbo == kind)
            axes.scatter(
                time[chosen], variance[chosen], s=20, facecolor=face, edgecolor=colour, linewidth=1.0, zorder=3
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.16, y=0.1)


def _has_point(time: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark what logarithmic axes can show."""
    return np.asarray((variance > 0) & np.isfinite(variance) & (time > 0) & np.isfinite(time))


def _say_not_drawn(
    axes: Axes, names: Sequence[str], time: NDArray[np.float64], variance: NDArray[np.float64]
) -> None:
    """Name the estimators without a point: a variance of 0, or numbers that are not finite."""
    drawn, zero = _has_point(time, variance), (variance == 0) & np.isfinite(time)
    kinds = {"zero": zero, "not finite": ~drawn & ~zero}
    said = [f"{kind}: {', '.join(np.array(names)[chosen])}" for kind, chosen in kinds.items() if chosen.any()]
    if said:
        axes.text(
            0.98, 0.02, "\n".join(said), transform=axes.transAxes, ha="right", va="bottom",
            fontsize=NAME_SIZE, color=style.INK,
        )  # fmt: skip


def _cost_legend(figure: Figure, of_elbo: NDArray[np.bool_]) -> None:
    marks = [
        Line2D([], [], linestyle="", marker="o", markersize=4.5, color=colour, label=f"estimates {label}")
        for kind, (colour, label) in OF_ELBO.items()
        if (of_elbo == kind).any()
    ]
    frontier = Line2D([], [], color=style.REFERENCE, linewidth=1.0, label="efficient frontier")
    _legend(figure, [*marks, frontier])


@renamed(table="numbers")
def plot_estimator_values(
    numbers: xr.Dataset, title: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None
) -> Figure:
    """Draw the single values of every estimator as violins, with the reference ELBO and log evidence.

    Args:
        numbers: of ``compare_estimators``; a value is the mean over the data of one repeat.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    _require(numbers, ("draw", "value", "of_elbo"), ("estimator", "repeat"))
    count = numbers.sizes["estimator"]
    figure, axes = open_panel(5.6, 1.1 + 0.3 * count, title, ax, figsize)
    style_axes(axes)
    axes.grid(visible=False, axis="y")
    left_out = 0
    for row in range(count):
        colour, _ = OF_ELBO[bool(numbers["of_elbo"][row])]
        values = numbers["draw"][row].to_numpy()
        finite = np.isfinite(values)
        left_out += int((~finite).sum())
        if finite.any():
            _draw_violin(axes, values[finite], row, colour)
        axes.plot(
            float(numbers["value"][row]),
            row,
            marker="|",
            markersize=9,
            markeredgewidth=1.4,
            color=style.INK,
            zorder=3,
        )
    lines = [
        axes.axvline(numbers.attrs[key], color=style.INK, linestyle=dashes, linewidth=1.0, zorder=1, label=label)
        for key, dashes, label in (("elbo", "-", "reference ELBO"), ("evidence", "--", r"reference $\log p(x)$"))
    ]
    axes.set_yticks(range(count), labels=[str(name) for name in numbers["estimator"].to_numpy()])
    axes.set_ylim(count - 0.4, -0.6)
    say_left_out(axes, f"{left_out} of {numbers['draw'].size} values are not finite and not drawn" * (left_out > 0))
    axes.set_xlabel("value of one repeat, nats per datum", fontsize=style.LABEL_SIZE, color=style.INK)
    mean = Line2D(
        [], [], linestyle="", marker="|", markersize=9, markeredgewidth=1.4, color=style.INK, label="mean"
    )
    draw_legend(figure, axes, ax is not None, handles=[*lines, mean], ncols=4)
    return figure


def _draw_violin(axes: Axes, values: NDArray[np.float64], row: int, colour: str) -> None:
    """Draw a kernel density with Silverman's width, both ways from the row; a line where all values are equal."""
    spread = values.std()
    if not spread > 1e-9 * max(1.0, abs(values.mean())):
        axes.vlines(values.mean(), row - 0.4, row + 0.4, color=colour, linewidth=1.5, zorder=2)
        return
    width = 1.06 * spread * len(values) ** -0.2
    grid = np.linspace(values.min() - 2 * width, values.max() + 2 * width, 160)
    density = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).sum(1)
    half = 0.4 * density / density.max()
    axes.fill_between(grid, row - half, row + half, color=colour, alpha=0.45, linewidth=0, zorder=2)


def plot_snr(tables: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw the gradient's signal-to-noise ratio against K, one panel per group, between slopes of -1/2 and +1/2.

    Args:
        tables: tables joined along "num_particles", as ``inference.compare_over_particles`` gives them; NaN
            where an estimator is not defined.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.
    """
    _require(tables, ("snr",), ("estimator", "group", "num_particles"))
    figure, panels = _panels(tables, title, figsize)
    particles = tables["num_particles"].to_numpy()
    for axes, group in zip(panels, tables["group"].to_numpy(), strict=True):
        _draw_curves(axes, tables["snr"].sel(group=group), "num_particles")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
        axes.xaxis.set_major_locator(FixedLocator(particles.tolist()))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.xaxis.set_minor_locator(NullLocator())
        _draw_slopes(axes, particles)
    label_edges(panels, r"particles $K$", "signal-to-noise ratio")
    guides = Line2D([], [], color=style.REFERENCE, linestyle=":", linewidth=1.0, label=r"slopes $\pm 1/2$")
    _legend(figure, [*_handles(panels[0]), guides])
    return figure


def _draw_slopes(axes: Axes, particles: NDArray[np.int64]) -> None:
    """Draw straight lines through the geometric middle of the panel, behind the curves."""
    low, high = axes.get_ylim()
    middle_x, middle_y = math.sqrt(particles[0] * particles[-1]), math.sqrt(low * high)
    for slope in (-0.5, 0.5):
        y = middle_y * (particles / middle_x) ** slope
        axes.plot(particles, y, color=style.REFERENCE, linestyle=":", linewidth=1.0, zorder=1, label="_slope")
    axes.set_ylim(low, high)


def plot_gradient_variance(tables: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw the gradient's variance along training, one panel per group.

    Args:
        tables: tables of several checkpoints of a run, joined along "epoch".
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.
    """
    _require(tables, ("gradient_variance",), ("estimator", "group", "epoch"))
    figure, panels = _panels(tables, title, figsize)
    for axes, group in zip(panels, tables["group"].to_numpy(), strict=True):
        _draw_curves(axes, tables["gradient_variance"].sel(group=group), "epoch")
        axes.set_yscale("log")
    label_edges(panels, "epoch", "gradient variance (trace)")
    _legend(figure, _handles(panels[0]))
    return figure


def _draw_curves(axes: Axes, values: xr.DataArray, along: str) -> None:
    """Draw one line per estimator, told by colour; a second ten by dashes and squares as well."""
    x = values[along].to_numpy()
    left_out = int((~(np.isfinite(values) & (values > 0))).sum())
    say_left_out(axes, f"{left_out} of {values.size} not drawn: zero or not finite" * (left_out > 0))
    for index, name in enumerate(values["estimator"].to_numpy()):
        second = index // len(style.CLASS_COLOURS) % 2
        y = values.sel(estimator=name).transpose(along).to_numpy()
        (line,) = axes.plot(x, np.where(y > 0, y, np.nan), linewidth=1.3, label=str(name), zorder=2)
        line.set(color=style.CLASS_COLOURS[index % len(style.CLASS_COLOURS)], linestyle=DASHES[second])
        line.set(marker=MARKERS[second], markersize=3.2)


def _require(table: xr.Dataset, variables: Sequence[str], dims: Sequence[str]) -> None:
    missing = [*(v for v in variables if v not in table), *(f"dimension {d}" for d in dims if d not in table.dims)]
    if missing:
        raise DataError(f"table: expected a Dataset of compare_estimators; missing {', '.join(missing)}")


def _panels(table: xr.Dataset, title: str | None, figsize: Size | None) -> tuple[Sheet, list[Axes]]:
    """Lay out one panel per group, two in a row, each with the group's name."""
    count = table.sizes["group"]
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = new_sheet(3.5 * columns, 0.6 + 2.4 * rows + 0.25 * (title is not None), title, figsize)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten().tolist()
    for axes in grid[count:]:
        axes.remove()
    for axes, group in zip(grid, table["group"].to_numpy(), strict=False):
        style_axes(axes)
        axes.set_title(str(group), fontsize=style.LABEL_SIZE, color=style.INK, loc="left")
    return figure, grid[:count]


def _plain(value: float, _: int | None) -> str:
    return f"{value:g}"


def _plain_ticks(axis: Axis) -> None:
    """Write plain numbers on a logarithmic axis, at 1, 2, 5 where it is short."""
    low, high = axis.get_view_interval()
    short = high < 200 * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,), numticks=9))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _handles(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=min(4, len(handles)),
        frameon=False,
        fontsize=style.TICK_SIZE,
        labelcolor=style.INK,
    )
