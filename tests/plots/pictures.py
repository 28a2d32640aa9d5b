"""Reads the tiles back from what a figure has drawn. All images of these tests are 4 by 4 pixels."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

SIDE, REPEAT, GAP = 4, 5, 1
PITCH = SIDE * REPEAT + GAP


def images(*leading):
    """Distinct grey images [*leading, 4, 4]; no two pixels are equal."""
    count = int(np.prod(leading)) * SIDE * SIDE
    return np.random.default_rng(0).permutation(count).reshape(*leading, SIDE, SIDE) / count


def drawn_tile(axes: Axes, row: int, col: int):
    """The image that the grid on `axes` shows in this row and column."""
    picture = np.asarray(axes.images[0].get_array())
    tile = picture[row * PITCH : row * PITCH + PITCH - GAP, col * PITCH : col * PITCH + PITCH - GAP]
    return tile[::REPEAT, ::REPEAT]


def grid_shape(axes: Axes) -> tuple[int, int]:
    """Rows and columns of the grid on `axes`."""
    height, width = axes.images[0].get_array().shape[:2]
    return (height + GAP) // PITCH, (width + GAP) // PITCH


def tick_texts(axis) -> list[str]:
    """The labels along an axis."""
    return [label.get_text() for label in axis.get_ticklabels()]


def texts(figure) -> list[str]:
    """Everything that is written on a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]
