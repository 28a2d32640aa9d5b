"""Small multiples: many small panels of one kind, each with its name, on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ppl_vae.plots import style
from ppl_vae.plots.figure import Sheet, Size, new_sheet, style_axes


def panel_grid(
    names: Sequence[str],
    title: str | None,
    columns: int = 4,
    size: tuple[float, float] = (1.75, 1.6),
    share: bool = True,
    figsize: Size | None = None,
) -> tuple[Sheet, list[Axes]]:
    """Make a styled panel for every name, from left to right and down; with ``share`` all have the same scales."""
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    # A single narrow panel would leave no room for the legend.
    width = max(size[0] * columns + 0.4, 4.2)
    figure = new_sheet(width, 0.75 + size[1] * rows + 0.25 * (title is not None), title, figsize)
    grid = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False).flatten().tolist()
    for axes in grid[len(names) :]:
        axes.remove()
    for axes, name in zip(grid, names, strict=False):
        style_axes(axes)
        axes.set_title(name, fontsize=style.TICK_SIZE, color=style.INK, loc="left")
    return figure, grid[: len(names)]


def label_edges(panels: Sequence[Axes], x_label: str, y_label: str) -> None:
    """Write labels at the left of every row and under the last panel of every column."""
    grid = panels[0].get_gridspec()
    columns = len(panels) if grid is None else grid.ncols
    for index, axes in enumerate(panels):
        if index % columns == 0:
            axes.set_ylabel(y_label, fontsize=style.LABEL_SIZE, color=style.INK)
        if index + columns >= len(panels):
            axes.set_xlabel(x_label, fontsize=style.LABEL_SIZE, color=style.INK)
            axes.tick_params(labelbottom=True)


def legend_below(figure: Sheet, handles: Sequence[Line2D | Patch], columns: int = 3) -> None:
    """Draw one legend for all panels, under them."""
    figure.legend(
        handles=list(handles), loc="outside lower center", ncols=columns, frameon=False, fontsize=style.TICK_SIZE,
        labelcolor=style.INK, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
