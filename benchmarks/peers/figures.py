"""The two figures: bars of images per second, and growth curves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from .contenders import CAPTURED, CUDA_CONTENDERS, EAGER

INK, FAINT, PEER, OURS, OURS_EAGER, BOUND = "#262626", "#8c8c8c", "#b8bcc2", "#0072b2", "#7fb3d5", "#d55e00"
# The bound is drawn up to so many times the longest bar.
FARTHEST_BOUND = 2.5
COLOURS = {CAPTURED: OURS, EAGER: OURS_EAGER}
TITLES = {
    "digits-mlp": "Digits, MLP 64-128-8\nbatch 64",
    "mnist-mlp": "MNIST, MLP 784-400-20\nbatch 128",
    "mnist-conv-32": "MNIST, convolutions\nbatch 32",
    "mnist-conv-512": "MNIST, convolutions\nbatch 512",
    "mnist-iwae-50": "MNIST, MLP, 50 draws\nbatch 128",
}
LINES = {CAPTURED: ("ppl_vae, captured", OURS, "o"), EAGER: ("ppl_vae, eager", OURS_EAGER, "s"),
         "hand-eager": ("PyTorch by hand", FAINT, "^")}  # fmt: skip


def plot_rates(workloads: dict[str, Any], title: str) -> Figure:
    """A panel a workload, a bar a contender; whiskers are the quartiles of the rounds."""
    names = [n for n in CUDA_CONTENDERS if any(n in w["contenders"] for w in workloads.values())]
    figure = Figure(figsize=(2.15 * len(workloads) + 1.8, 0.27 * len(names) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(workloads), sharey=True, squeeze=False)[0]
    for panel, (workload, result) in zip(panels, workloads.items(), strict=True):
        _bars(panel, result, names)
        panel.set_title(TITLES.get(workload, workload), fontsize=8, color=INK, loc="left")
    labels = [CUDA_CONTENDERS[name].label for name in names]
    panels[0].set_yticks(range(len(names)), labels, fontsize=8, color=INK)
    panels[0].invert_yaxis()
    figure.supxlabel("thousand images a second", fontsize=8, color=INK)
    figure.suptitle(title, fontsize=9, color=INK)
    return figure


def _bars(panel: Axes, result: dict[str, Any], names: list[str]) -> None:
    largest = max(
        (r["images_per_second"]["upper"] for r in result["contenders"].values() if "threads" in r), default=1
    )
    for index, name in enumerate(names):
        row = result["contenders"].get(name, {})
        if "images_per_second" not in row:
            panel.text(0, index, " not available", va="center", fontsize=6.5, color=FAINT)
            continue
        rate = {key: value / 1e3 for key, value in row["images_per_second"].items()}
        whisker = [[rate["median"] - rate["lower"]], [rate["upper"] - rate["median"]]]
        style = {"elinewidth": 0.8, "capsize": 2, "ecolor": INK}
        panel.barh(index, rate["median"], 0.7, color=COLOURS.get(name, PEER), xerr=whisker, error_kw=style)
        number = f"{rate['median']:.3g}"
        panel.annotate(
            number, (rate["upper"], index), (3, 0), textcoords="offset points", va="center", fontsize=6.5
        )
    at_peak = result.get("products", {}).get("images_per_second_at_peak", math.inf) / 1e3
    # Where overheads rule, the products' bound would only squeeze the bars.
    if at_peak < FARTHEST_BOUND * largest / 1e3:
        panel.axvline(at_peak, color=BOUND, linewidth=1, linestyle="--")
        panel.text(
            at_peak, len(names) - 0.45, "products\nat peak ", ha="right", va="bottom", fontsize=6, color=BOUND
        )
        largest = max(largest, 1e3 * at_peak)
    panel.set_xlim(0, 1.22 * largest / 1e3)
    _style(panel)
    panel.grid(axis="x", color="#e6e6e6", linewidth=0.6)


def plot_growth(axes: dict[str, Any], title: str) -> Figure:
    """A panel an axis, a line a contender: milliseconds a step over the size, both logarithmic."""
    figure = Figure(figsize=(2.3 * len(axes) + 0.4, 2.7), layout="constrained")
    panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
    for panel, (axis, contenders) in zip(panels, axes.items(), strict=True):
        sizes: set[int] = set()
        for name, (label, colour, marker) in LINES.items():
            points = {int(size): p for size, p in contenders.get(name, {}).items() if "median" in p}
            if points:
                sizes |= set(points)
                _line(panel, points, label, colour, marker)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(sorted(sizes), [f"{size:,}" for size in sorted(sizes)])
        panel.minorticks_off()
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xlabel(axis, fontsize=7.5, color=INK)
        _style(panel)
        panel.grid(color="#e6e6e6", linewidth=0.6)
    panels[0].set_ylabel("milliseconds a step", fontsize=8, color=INK)
    panels[0].legend(fontsize=7, frameon=False)
    figure.suptitle(title, fontsize=9, color=INK)
    return figure


def _line(panel: Axes, points: dict[int, dict[str, float]], label: str, colour: str, marker: str) -> None:
    sizes = sorted(points)
    median = [points[size]["median"] for size in sizes]
    bounds = [[points[size][bound] for size in sizes] for bound in ("lower", "upper")]
    spread = [[m - b for m, b in zip(median, bounds[0], strict=True)],
              [b - m for m, b in zip(median, bounds[1], strict=True)]]  # fmt: skip
    style = {"markersize": 4, "linewidth": 1.2, "elinewidth": 0.8, "capsize": 2}
    panel.errorbar(sizes, median, yerr=spread, label=label, color=colour, marker=marker, **style)


def _style(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=7, length=2.5, width=0.6, color=INK, labelcolor=INK)
    panel.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """As a picture for a page."""
    figure.savefig(path, dpi=180, facecolor="white")
