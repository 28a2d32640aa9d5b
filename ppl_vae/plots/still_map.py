"""A map of points in given colours, as a PNG with transparent paper, for light pages and for dark ones."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.plots import style

WIDTH, HEIGHT, DOTS_PER_INCH = 7.2, 4.8, 100


def still_map(
    points: NDArray[np.floating], colours: Sequence[str], names: tuple[str, str], diameter: float
) -> bytes:
    """Draw points [N, 2], each in its colour, with the names of both axes; ``diameter`` is in pixels."""
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()
