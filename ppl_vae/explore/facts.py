"""The plain values that the script of a view reads, and the columns of its one source of data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import bokeh
import numpy as np
from bokeh.palettes import Cividis256
from numpy.typing import NDArray

from ppl_vae.explore import look
from ppl_vae.explore.scene import Column, Plane, Posterior, Scene, TableRows
from ppl_vae.explore.sheets import Sheet, is_small, make_sheet, shrunk
from ppl_vae.plots import style

# Pixels of a tile's longer side, and the columns of a row that a card has room for.
LARGEST_TILE, MOST_ROWS = 64, 40
# A Gaussian's ellipse at two standard deviations, as widths.
TWO_DEVIATIONS = 4.0

Facts = dict[str, object]


@dataclass(frozen=True)
class ColumnFacts:
    """A column as the script knows it.

    Attributes:
        key: of its values in the source of data.
        error: of their standard errors there; empty where they have none.
        classes: the names of its few classes; None for a scale.
    """

    key: str
    title: str
    heading: str
    description: str
    number: bool
    error: str
    classes: list[str] | None


def facts_of(scene: Scene) -> Facts:
    """Collect what the script reads of a scene."""
    columns = column_facts(scene.columns)
    return {
        "columns": [asdict(column) for column in columns],
        "keys": ["name", *(key for c in columns for key in (c.key, c.error) if key)],
        "sheets": [] if scene.pictures is None else sheets_of(scene.pictures.tiles),
        "table_rows": None if scene.rows is None else _rows(scene.rows),
        "posterior": None if scene.posterior is None else _posterior(scene.posterior),
        "plane": None if scene.plane is None else _plane(scene.plane, scene.rows),
        "groups": [
            {"title": g.title, "words": g.words, "indices": [int(i) for i in g.indices], "sort_by": g.sort_by}
            for g in scene.groups
            if len(g.indices)
        ],
        "sort_by": scene.sort_by,
        "limit": None if math.isnan(scene.limit) else scene.limit,
        "version": bokeh.__version__,
        "palette": list(Cividis256),
        "classes": list(style.CLASS_COLOURS),
        "no_value": look.NO_VALUE,
        "guide_colour": look.GUIDE,
        "reference_colour": look.REFERENCE,
        "light": {**look.LIGHT, "variables": look.variables(look.LIGHT)},
        "dark": {**look.DARK, "variables": look.variables(look.DARK)},
    }


def column_facts(columns: Sequence[Column]) -> list[ColumnFacts]:
    """Give every column its key in the source of data."""
    return [
        ColumnFacts(
            f"c{k}", c.title, c.heading, c.description, c.is_number,
            f"e{k}" if c.errors is not None else "", _classes(c),
        )
        for k, c in enumerate(columns)
    ]  # fmt: skip


def source_data(scene: Scene) -> dict[str, object]:
    """The columns of the source of data, by their keys."""
    found: dict[str, object] = {
        "x": scene.points[:, 0].astype(np.float32),
        "y": scene.points[:, 1].astype(np.float32),
    }
    for facts, column in zip(column_facts(scene.columns), scene.columns, strict=True):
        found[facts.key] = _values(column)
        if column.errors is not None:
            found[facts.error] = np.asarray(column.errors, np.float32)
    return found


def _values(column: Column) -> object:
    if not column.is_number:
        return [str(value) for value in column.values]
    # Whole numbers, such as a datum's own, keep all their digits.
    return column.values.astype(np.float64 if column.values.dtype.kind in "iu" else np.float32)


def _classes(column: Column) -> list[str] | None:
    """Name the classes of texts or of few whole numbers; None for a scale, or where there are too many."""
    if column.values.dtype.kind == "f":
        return None
    # An empty text is no value.
    known = column.values if column.is_number else column.values[column.values != ""]
    names, counts = np.unique(known, return_counts=True)
    few = len(style.CLASS_COLOURS)
    if len(names) <= few:
        return [str(name) for name in names]
    # Of many texts the most frequent have a colour; of many numbers there is a scale.
    return (
        None if column.is_number else sorted(str(name) for name in names[np.argsort(-counts, kind="stable")[:few]])
    )


def sheets_of(tiles: Mapping[str, NDArray[np.uint8]]) -> list[dict[str, object]]:
    """Compress images, by what they show."""
    small = {title: shrunk(each, LARGEST_TILE) for title, each in tiles.items()}
    lossless = is_small(list(small.values()))
    made: dict[str, Sheet] = {title: make_sheet(each, lossless) for title, each in small.items()}
    return [{"title": title, **asdict(sheet)} for title, sheet in made.items()]


def _rows(rows: TableRows) -> Facts:
    values = [np.ascontiguousarray(each, np.float32).ravel() for each in rows.values.values()]
    names = [str(name) for name in rows.names]
    return {
        "names": names[:MOST_ROWS],
        "words": [[str(word) for word in words] for words in rows.words[:MOST_ROWS]],
        "titles": list(rows.values),
        "values": values,
        "width": len(names),
    }


def _posterior(posterior: Posterior) -> Facts:
    shapes = ellipses(posterior.mean, posterior.covariance)
    reference = {
        str(i): {**_reference(draws), "way": posterior.ways.get(i, "by HMC")}
        for i, draws in posterior.reference.items()
    }
    return {
        "guide": posterior.guide.astype(np.float32).ravel(),
        "num_draws": posterior.guide.shape[1],
        "ellipse": shapes.astype(np.float32).ravel(),
        "reference": reference,
    }


def _reference(draws: NDArray[np.float32]) -> Facts:
    covariance = np.cov(draws, rowvar=False).reshape(1, 2, 2)
    return {
        "x": [float(v) for v in draws[:, 0]],
        "y": [float(v) for v in draws[:, 1]],
        "ellipse": ellipses(draws.mean(0, keepdims=True), covariance)[0].tolist(),
    }


def ellipses(mean: NDArray[np.floating], covariance: NDArray[np.floating]) -> NDArray[np.float64]:
    """The ellipses at two standard deviations: centre, width, height and angle [N, 5]."""
    squares, directions = np.linalg.eigh(covariance)
    lengths = TWO_DEVIATIONS * np.sqrt(np.maximum(squares, 0.0))
    angle = np.arctan2(directions[:, 1, 1], directions[:, 0, 1])
    return np.column_stack([mean, lengths[:, 1], lengths[:, 0], angle])


def _plane(plane: Plane, rows: TableRows | None) -> Facts:
    size, of_table = plane.tiles.shape[0], rows is not None
    shape = list(plane.tiles.shape[2:])
    channels = shape[2] if len(shape) == 3 else 1
    values = plane.tiles.astype(np.float32 if of_table else np.uint8).ravel()
    return {
        "words": plane.words,
        "low": list(plane.low),
        "high": list(plane.high),
        "size": size,
        "length": int(np.prod(shape)),
        "shape": None if of_table else [*shape[:2], channels],
        "values": values,
        "names": [str(name) for name in rows.names][:MOST_ROWS] if rows is not None else None,
    }
