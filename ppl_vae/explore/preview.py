"""The map of a view as a still picture: what a page shows until its code runs, and where none does, as on paper."""

from __future__ import annotations

import base64
from html import escape

import numpy as np
from bokeh.palettes import Cividis256
from numpy.typing import NDArray

from ppl_vae.explore import look
from ppl_vae.explore.facts import column_facts
from ppl_vae.explore.figures import mark_size
from ppl_vae.explore.scene import Scene
from ppl_vae.plots import style
from ppl_vae.plots.still_map import still_map

# Values of a scale that the key names.
STEPS = 5


def preview(scene: Scene) -> str:
    """Draw the map of a scene in its first colours, as an img element."""
    colours, key = _colours(scene)
    picture = still_map(scene.points, colours, scene.axes, mark_size(len(scene.points)), key, scene.colour_by)
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    told = escape(f"Map of {len(scene.points)} data, coloured by {scene.colour_by}", quote=True)
    return f'<img src="{source}" alt="{told}" style="max-width: 100%; height: auto">'


def _colours(scene: Scene) -> tuple[list[str], dict[str, str]]:
    """The colours of the points, by the rule of the view's own script, and what they mean."""
    place = [column.title for column in scene.columns].index(scene.colour_by)
    values, classes = scene.columns[place].values, column_facts(scene.columns)[place].classes
    if classes is not None:
        of_class = dict(zip(classes, style.CLASS_COLOURS, strict=False))
        return [of_class.get(str(value), look.NO_VALUE) for value in values], of_class
    numbers = np.asarray(values, float)
    known = np.isfinite(numbers)
    if not known.any():
        return [look.NO_VALUE] * len(numbers), {}
    low, high = np.quantile(numbers[known], (0.01, 0.99))
    steps = np.linspace(low, high, STEPS)
    key = {f"{value:.3g}": colour for value, colour in zip(steps, _scale(steps, low, high), strict=True)}
    shades = _scale(np.where(known, numbers, low), low, high)
    return [shade if there else look.NO_VALUE for shade, there in zip(shades, known, strict=True)], key


def _scale(values: NDArray[np.floating], low: float, high: float) -> list[str]:
    share = np.clip((values - low) / (high - low or 1.0), 0, 1)
    return [Cividis256[at] for at in np.minimum((share * len(Cividis256)).astype(int), len(Cividis256) - 1)]
