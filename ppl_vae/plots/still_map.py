"""A map of points in given colours, as a PNG with transparent paper, for light pages and for dark ones."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ppl_vae.plots import style

WIDTH, HEIGHT, DOTS_PER_INCH = 7.2, 4.8, 100
MOST_LETTERS = 24


def still_map(
    points: NDArray[np.floating],
    colours: Sequence[str],
    names: tuple[str, str],
    diameter: float,
    key: Mapping[str, str],
    title: str,
) -> bytes:
    """Draw points in the plane.

    Args:
        points: the places [N, 2].
        colours: one of each point.
        names: of the axes.
        diameter: of a point, in pixels.
        key: what colours mean, a word to each.
        title: of the key.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    # matplotlib takes the square of the diameter in points.
    size = (diameter * 72 / DOTS_PER_INCH) ** 2
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colours, alpha=0.8, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    look = {"color": style.REFERENCE, "fontsize": style.LABEL_SIZE, "parse_math": False}
    axes.set_xlabel(names[0], look)
    axes.set_ylabel(names[1], look)
    axes.tick_params(colors=style.REFERENCE, labelsize=style.TICK_SIZE)
    axes.spines[:].set_color(style.REFERENCE)
    _draw_key(axes, key, title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()


def _draw_key(axes: Axes, key: Mapping[str, str], title: str) -> None:
    """Name the colours beside the map; names are shortened, and none of them is a formula."""
    marks = [Line2D([], [], linestyle="", marker="o", color=colour) for colour in key.values()]
    words = [word if len(word) <= MOST_LETTERS else f"{word[: MOST_LETTERS - 1]}…" for word in (title, *key)]
    legend = axes.legend(
        marks, ["" for _ in key], title=" ", loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False,
        fontsize=style.TICK_SIZE, title_fontsize=style.TICK_SIZE, borderaxespad=0,
    )  # fmt: skip
    for text, word in zip((legend.get_title(), *legend.get_texts()), words, strict=True):
        text.set(parse_math=False, text=word, color=style.REFERENCE)
