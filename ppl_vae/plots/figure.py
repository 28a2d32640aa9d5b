"""The sheet that every plot is drawn on, and the look that all share.

A plot here is a `matplotlib.figure.Figure` that pyplot has never seen: none stays open, none is shown
twice, and no rcParams are changed. Such a figure is shown by a notebook only after some cell has switched
on matplotlib's inline backend; the `Sheet` below brings its own PNG, so that it is always shown, once.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from ppl_vae.errors import ModelError
from ppl_vae.plots import style

# Width and height in inches.
Size = tuple[float, float]


class Sheet(Figure):
    """A figure that a notebook shows without pyplot or an inline backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi, bbox_inches="tight")
        return buffer.getvalue()


def new_sheet(width: float, height: float, title: str | None = None, figsize: Size | None = None) -> Sheet:
    """Make an empty white figure with its title above all panels.

    Args:
        width: in inches, where the reader asks for no size.
        height: the same.
        title: above all panels.
        figsize: the size that the reader asks for.

    >>> new_sheet(3.0, 2.0, "Digits").get_suptitle()
    'Digits'
    """
    size = (width, height) if figsize is None else figsize
    if len(size) != 2 or not all(side > 0 for side in size):
        raise ModelError(f"figsize: expected a positive width and height in inches, got {figsize!r}")
    sheet = Sheet(figsize=size, layout="constrained", facecolor="white")
    if title is not None:
        sheet.suptitle(title, fontsize=style.TITLE_SIZE, color=style.INK)
    return sheet


def open_panel(
    width: float, height: float, title: str | None, ax: Axes | None, figsize: Size | None
) -> tuple[Figure, Axes]:
    """Open the one panel of a figure: on the reader's own axes, or on a new sheet.

    Args:
        width: of a new sheet in inches.
        height: the same, without the title.
        title: above the panel.
        ax: the reader's axes.
        figsize: the size of a new sheet that the reader asks for.

    Raises:
        ModelError: axes and a size are given, of which the axes have one already.
    """
    if ax is None:
        sheet = new_sheet(width, height + 0.25 * (title is not None), title, figsize)
        return sheet, sheet.subplots()
    if not isinstance(ax, Axes):
        raise ModelError(f"ax: expected one matplotlib Axes, got {type(ax).__name__}")
    if figsize is not None:
        raise ModelError("figsize: axes stand in a figure that has its size; give ax or figsize, not both")
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE_SIZE, color=style.INK, loc="left")
    figure = ax.figure
    while not isinstance(figure, Figure):
        figure = figure.figure
    return figure, ax


def draw_legend(figure: Figure, axes: Axes, own: bool, **options: object) -> Legend:
    """Draw the legend of one panel: under a figure of ours, and inside the axes of a reader's own.

    Args:
        figure: that holds the panel.
        axes: the panel.
        own: whether the axes are the reader's.
        **options: of matplotlib's legend, such as handles.
    """
    look = {"frameon": False, "fontsize": style.TICK_SIZE, "labelcolor": style.INK, **options}
    if own:
        return axes.legend(**{**look, "loc": "best", "ncols": 1, "frameon": True, "framealpha": 0.8})
    return figure.legend(loc="outside lower center", **look)


def say_left_out(axes: Axes, text: str) -> None:
    """Write above a panel, at the right and small, what it does not show; nothing for an empty text."""
    if text:
        axes.set_title(text, fontsize=style.TICK_SIZE - 1, color=style.REFERENCE, loc="right", pad=3)


def style_axes(axes: Axes) -> None:
    """Lighten the frame of a panel of data: two spines, small ticks, a faint grid behind the marks."""
    axes.set_facecolor("white")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(style.INK)
    style_ticks(axes)
    axes.set_axisbelow(True)
    axes.grid(color="#e6e6e6", linewidth=0.6)


def style_ticks(axes: Axes) -> None:
    """Make ticks short and thin, and their labels small."""
    axes.tick_params(labelsize=style.TICK_SIZE, length=3, width=0.6, color=style.INK, labelcolor=style.INK)
    axes.tick_params(which="minor", labelsize=style.TICK_SIZE, color=style.INK, labelcolor=style.INK)
