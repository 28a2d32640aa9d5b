"""The map of a view as a still picture: what a page shows until its code runs, and where none does, as on paper."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.explore import look
from ppl_vae.explore.facts import column_facts
from ppl_vae.explore.figures import mark_size
from ppl_vae.explore.scene import Scene
from ppl_vae.plots import style

WIDTH, HEIGHT, DOTS_PER_INCH = 7.2, 4.8, 100


def preview(scene: Scene) -> str:
    """Draw the map of a scene in its first colours, as HTML; its paper is transparent, for light and for dark."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    # Bokeh counts the diameter in pixels, matplotlib its square in points.
    points = mark_size(len(scene.points)) * 72 / DOTS_PER_INCH
    axes.scatter(*scene.points.T, s=points**2, c=_colours(scene), alpha=0.8, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    for name, write in zip(scene.axes, (axes.set_xlabel, axes.set_ylabel), strict=True):
        write(name, color=style.REFERENCE, fontsize=style.LABEL_SIZE, parse_math=False)
    axes.tick_params(colors=style.REFERENCE, labelsize=style.TICK_SIZE)
    axes.spines[:].set_color(style.REFERENCE)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    told = escape(f"Map of {len(scene.points)} data, coloured by {scene.colour_by}", quote=True)
    return f'<img src="{source}" alt="{told}" style="max-width: 100%; height: auto">'


def _colours(scene: Scene) -> NDArray[np.floating] | list[str]:
    """The colours of the points, by the rule of the view's own script."""
    place = [column.title for column in scene.columns].index(scene.colour_by)
    values, classes = scene.columns[place].values, column_facts(scene.columns)[place].classes
    if classes is not None:
        of_class = dict(zip(classes, style.CLASS_COLOURS, strict=False))
        return [of_class.get(str(value), look.NO_VALUE) for value in values]
    numbers = np.asarray(values, float)
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return [look.NO_VALUE] * len(numbers)
    low, high = np.quantile(known, (0.01, 0.99))
    share = np.clip((numbers - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    drawn = np.array(colormaps["cividis"](np.nan_to_num(share)))
    drawn[~np.isfinite(numbers)] = (0.62, 0.62, 0.62, 1)
    return drawn
