"""Write names beside points, where they cover neither each other nor a point as far as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from ppl_vae.plots import style

# Directions, in the order they are tried, at these distances in points.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
DISTANCES = (5, 9, 14, 20, 27)
LED_FROM = 9
POINT_RADIUS = 3.0
LEADER = {"arrowstyle": "-", "color": style.REFERENCE, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}


class _Place(NamedTuple):
    """The place where a name may stand: its offset from the point in points, and the box it takes in pixels."""

    dx: float
    dy: float
    box: Bbox


def label_points(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], names: Sequence[str], size: float
) -> list[Text]:
    """Write a name beside every point, the longest first; the layout must be final.

    Args:
        axes: where the points are drawn.
        x: coordinates of the points, as drawn [n].
        y: the others.
        names: [n].
        size: of the letters, in points.
    """
    pixels = axes.transData.transform(np.column_stack([x, y]))
    per_point = axes.figure.dpi / 72
    points = [Bbox.from_extents(*(p - POINT_RADIUS * per_point), *(p + POINT_RADIUS * per_point)) for p in pixels]
    extents = [_extent(axes, name, size) for name in names]
    taken: list[Bbox] = []
    texts = []
    for index in np.argsort([-width for width, _ in extents]):
        others = [*taken, *(box for i, box in enumerate(points) if i != index)]
        places = _places(pixels[index], extents[index], per_point)
        place = min(places, key=lambda found: _covered(found.box, others, axes.bbox))
        taken.append(place.box)
        texts.append(_write(axes, names[index], (x[index], y[index]), place, size))
    return texts


def _extent(axes: Axes, name: str, size: float) -> tuple[float, float]:
    """Measure width and height of a name in pixels."""
    probe = axes.text(0, 0, name, fontsize=size)
    box = probe.get_window_extent()
    probe.remove()
    return box.width, box.height


def _places(pixel: NDArray[np.float64], extent: tuple[float, float], per_point: float) -> list[_Place]:
    places = []
    for distance in DISTANCES:
        for right, up in DIRECTIONS:
            step = distance * (0.75 if right and up else 1.0)
            dx, dy = right * step, up * step
            left = pixel[0] + dx * per_point - extent[0] * (1 - right) / 2
            bottom = pixel[1] + dy * per_point - extent[1] * (1 - up) / 2
            places.append(_Place(dx, dy, Bbox.from_bounds(left, bottom, *extent)))
    return places


def _covered(box: Bbox, others: Sequence[Bbox], frame: Bbox) -> float:
    """Count the pixels of a box that lie on others or outside the frame."""
    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (0.0 if inside is None else inside.width * inside.height)
    overlaps = (Bbox.intersection(box, other) for other in others)
    return outside + sum(o.width * o.height for o in overlaps if o is not None)


def _write(axes: Axes, name: str, point: tuple[float, float], place: _Place, size: float) -> Text:
    """Write the name, with a thin line to its point where it stands far off."""
    far = max(abs(place.dx), abs(place.dy)) > LED_FROM
    sign_x, sign_y = np.sign(place.dx), np.sign(place.dy)
    return axes.annotate(
        name,
        point,
        xytext=(place.dx, place.dy),
        textcoords="offset points",
        ha={1: "left", -1: "right", 0: "center"}[int(sign_x)],
        va={1: "bottom", -1: "top", 0: "center"}[int(sign_y)],
        fontsize=size,
        color=style.INK,
        arrowprops={"arrowstyle": "-", "color": style.REFERENCE, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        if far
        else None,
        zorder=4,
        path_effects=[withStroke(linewidth=1.8, foreground="white")],
    )
