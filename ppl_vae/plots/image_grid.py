"""Images in a grid: the tiling that every picture of decoded data shares.

An event, the shape of one datum, is (H, W) or (1, H, W) for grey, or (3, H, W) for RGB. A row of D numbers is no
picture, even where D is a square: nothing tells a table of 16 columns from images of 4 by 4 pixels. Grey runs from
black at 0 to white at 1 as RGB does, so that a photograph is never shown as its negative. Values outside [0, 1],
which the mean of a Gaussian may take, are clipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.arrays import Array, check_finite, to_numpy
from ppl_vae.plots.figure import Size, open_panel

TEXT_WIDTH = 6.5
GAP_FRACTION = 1 / 20


def as_images(x: Array, leading: Sequence[str] = ("N",)) -> NDArray[np.float64]:
    """Convert images to the arrays that matplotlib takes.

    Args:
        x: images, [*leading, *event].
        leading: names of the dimensions before the event, for the message.

    Returns:
        [*leading, H, W] for grey and [*leading, H, W, 3] for RGB, in [0, 1].

    Raises:
        DataError: x holds no images of the kind, the shape is named.

    >>> as_images(np.zeros((5, 3, 8, 6))).shape
    (5, 8, 6, 3)
    """
    array = to_numpy(x)
    lead, event = array.shape[: len(leading)], array.shape[len(leading) :]
    if array.size == 0 or not _is_image(event):
        raise DataError(
            f"images: expected shape [{', '.join(leading)}, *event], none of them 0, with an event (H, W), "
            f"(1, H, W) or (3, H, W); found {tuple(array.shape)}{_advice(event)}"
        )
    check_finite("images", array)
    if np.issubdtype(array.dtype, np.integer) and array.max() > 1:
        raise DataError(f"images: expected intensities in [0, 1], found integers up to {array.max()}")
    array = np.clip(array.astype(np.float64), 0.0, 1.0)
    if len(event) == 3 and event[0] == 3:
        return np.moveaxis(array, -3, -1)
    return array.reshape(*lead, *event[-2:])


def _advice(event: tuple[int, ...]) -> str:
    """Say which call draws a table; an image that was laid flat needs its shape again."""
    if len(event) != 1 or event[0] == 0:
        return ""
    side = math.isqrt(event[0])
    shape = f"{side}, {side}" if side > 1 and side**2 == event[0] else "H, W"
    return (
        f": a table of {event[0]} columns is drawn by plot_marginals, plot_pairs and plot_column_reconstructions; "
        f"if its rows are images, give x.reshape(-1, {shape})"
    )


def _is_image(event: tuple[int, ...]) -> bool:
    return len(event) == 2 or (len(event) == 3 and event[0] in (1, 3))


def tile(images: NDArray[np.float64], gap: int = 0) -> NDArray[np.float64]:
    """Join all images into one picture, with white lines of `gap` pixels between them.

    Args:
        images: [rows, cols, H, W] or [rows, cols, H, W, 3].
        gap: pixels between neighbours; none runs around the picture.

    Returns:
        [rows * (H + gap) - gap, cols * (W + gap) - gap] or the same with a last dimension of 3.

    >>> tile(np.zeros((1, 2, 1, 2)), gap=1)
    array([[0., 0., 1., 0., 0.]])
    """
    rows, cols, height, width = images.shape[:4]
    pad = [(0, 0), (0, 0), (0, gap), (0, gap)] + [(0, 0)] * (images.ndim - 4)
    padded = np.pad(images, pad, constant_values=1.0).swapaxes(1, 2)
    picture = padded.reshape(rows * (height + gap), cols * (width + gap), *images.shape[4:])
    return picture[: rows * (height + gap) - gap, : cols * (width + gap) - gap]


def wrap(images: NDArray[np.float64], cols: int) -> NDArray[np.float64]:
    """Break a list of images into rows; what is left of the last row is white.

    Args:
        images: [N, H, W] or [N, H, W, 3].
        cols: images in a row.

    Returns:
        [ceil(N / cols), cols, H, W] or the same with a last dimension of 3.
    """
    missing = -len(images) % cols
    filled = np.concatenate([images, np.ones((missing, *images.shape[1:]))])
    return filled.reshape(-1, cols, *images.shape[1:])


def draw_grid(
    axes: Axes,
    images: NDArray[np.float64],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> None:
    """Draw the grid on `axes`, with one label per row at the left and one per column at the top.

    The centre of the tile in row i and column j lies at the data coordinates (j, i).

    Args:
        axes: where to draw.
        images: [rows, cols, H, W] or [rows, cols, H, W, 3].
        row_labels: one a row, or none.
        column_labels: one a column, or none.
    """
    rows, cols, height, width = images.shape[:4]
    # A small image has its pixels repeated, so that a gap of one pixel is still a thin line.
    repeat = math.ceil(1 / (GAP_FRACTION * min(height, width)))
    enlarged = images.repeat(repeat, axis=2).repeat(repeat, axis=3)
    gap = max(1, round(GAP_FRACTION * repeat * min(height, width)))
    x_margin, y_margin = 0.5 * gap / (repeat * width + gap), 0.5 * gap / (repeat * height + gap)
    show_picture(
        axes,
        tile(enlarged, gap),
        (-0.5 + x_margin, cols - 0.5 - x_margin, rows - 0.5 - y_margin, -0.5 + y_margin),
        aspect=(repeat * height + gap) / (repeat * width + gap),
    )
    axes.set_xticks(range(cols) if column_labels else [], list(column_labels))
    axes.set_yticks(range(rows) if row_labels else [], list(row_labels))
    axes.tick_params(length=0, pad=4, labelsize=style.TICK_SIZE, labelcolor=style.INK, top=True, labeltop=True)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.set_anchor("NW")  # constrained layout cuts off labels that do not stand at the edge of their cell


def show_picture(
    axes: Axes, picture: NDArray[np.float64], extent: tuple[float, float, float, float], aspect: float
) -> None:
    """Draw a grey or RGB picture without a frame, where black is 0 and white is 1."""
    axes.imshow(picture, cmap="gray", vmin=0.0, vmax=1.0, origin="upper", extent=extent, aspect=aspect)
    axes.spines[:].set_visible(False)


def grid_size(rows: int, cols: int, event: tuple[int, ...]) -> tuple[float, float]:
    """Compute width and height in inches of a grid of tiles that fills a page's text width at best."""
    tile_width = min(max(TEXT_WIDTH / cols, 0.42), 0.7)
    return cols * tile_width, rows * tile_width * event[0] / event[1]


def grid_figure(
    images: NDArray[np.float64],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    column_axis: str = "",
    title: str | None = None,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Make a figure that is one grid of images with its labels.

    Args:
        images: [rows, cols, H, W] or [rows, cols, H, W, 3].
        row_labels: one a row, or none.
        column_labels: one a column, or none.
        column_axis: what the column labels are, written above them.
        title: above everything.
        ax: the reader's own axes to draw on.
        figsize: the size in inches that the reader asks for.
    """
    width, height = grid_size(images.shape[0], images.shape[1], images.shape[2:4])
    side = 0.1 + 0.075 * max((len(label.strip("$")) for label in row_labels), default=0)
    head = 0.1 + 0.18 * bool(column_labels) + 0.18 * bool(column_axis) - 0.05 * (title is not None)
    figure, axes = open_panel(width + side, height + head, title, ax, figsize)
    draw_grid(axes, images, row_labels, column_labels)
    axes.set_xlabel(column_axis, fontsize=style.LABEL_SIZE, color=style.INK)
    return figure
