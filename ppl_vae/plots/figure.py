"""The sheet that every plot is drawn on, and the look that all share.

A plot here is a `matplotlib.figure.Figure` that pyplot has never seen: none stays open, none is shown
twice, and no rcParams are changed. Such a figure is shown by a notebook only after some cell has switched
on matplotlib's inline backend; the `Sheet` below brings its own PNG, so that it is always shown, once.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

LABEL_SIZE = 9
TICK_SIZE = 8
TITLE_SIZE = 10
INK = "#262626"
REFERENCE = "#8c8c8c"

# P. Tol (2021), "Colour schemes", the scheme "muted" with a stronger yellow and a darker grey.
CLASS_COLOURS = (
    "#332288", "#ddaa33", "#117733", "#cc6677", "#88ccee",
    "#882255", "#44aa99", "#999933", "#aa4499", "#7f7f7f",
)  # fmt: skip
# M. Okabe, K. Ito (2008), "Color universal design".
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"


class Sheet(Figure):
    """A figure that a notebook shows without pyplot or an inline backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi, bbox_inches="tight")
        return buffer.getvalue()


def new_sheet(width: float, height: float, title: str | None = None) -> Sheet:
    """Make an empty white figure of `width` times `height` inches, with its title above all panels.

    >>> new_sheet(3.0, 2.0, "Digits").get_suptitle()
    'Digits'
    """
    sheet = Sheet(figsize=(width, height), layout="constrained", facecolor="white")
    if title is not None:
        sheet.suptitle(title, fontsize=TITLE_SIZE, color=INK)
    return sheet


def style_axes(axes: Axes) -> None:
    """Lighten the frame of a panel of data: two spines, small ticks, a faint grid behind the marks."""
    axes.set_facecolor("white")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    style_ticks(axes)
    axes.set_axisbelow(True)
    axes.grid(color="#e6e6e6", linewidth=0.6)


def style_ticks(axes: Axes) -> None:
    """Make ticks short and thin, and their labels small."""
    axes.tick_params(labelsize=TICK_SIZE, length=3, width=0.6, color=INK, labelcolor=INK)
    axes.tick_params(which="minor", labelsize=TICK_SIZE, color=INK, labelcolor=INK)
