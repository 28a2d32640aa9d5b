"""The scene of an explorable view: what is drawn, as plain arrays and words.

Whoever has numbers fills a scene; ``view`` turns it into Bokeh models. Every text may come from outside, and is
shown as the text that it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ppl_vae.errors import DataError


@dataclass(frozen=True)
class Column:
    """A column of the table: a value per datum.

    Attributes:
        title: its name for a reader, such as "k-hat".
        values: numbers, where NaN stands for what is not known, or texts [N].
        errors: the standard errors of numbers [N]; None where they have none.
        unit: of the numbers, such as "nats"; empty where they are pure ones.
        description: one sentence; may be empty.
    """

    title: str
    values: NDArray[np.generic]
    errors: NDArray[np.floating] | None = None
    unit: str = ""
    description: str = ""

    @property
    def is_number(self) -> bool:
        """Tell whether the values are numbers, which have an order and a scale of colours."""
        return self.values.dtype.kind in "fiu"

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class Pictures:
    """Images of every datum, by what they show: the datum, its reconstruction, draws.

    Attributes:
        tiles: grey levels or colours [N, H, W] or [N, H, W, 3] from 0 to 255, by title.
    """

    tiles: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class TableRows:
    """The row of every datum of a table, by what it shows: the datum, its reconstruction, draws.

    Attributes:
        names: of the columns, D of them.
        values: [N, D] by title.
        words: of every column those that stand for its numbers 0, 1, ...; empty of numbers, or of none.
    """

    names: Sequence[str]
    values: Mapping[str, NDArray[np.floating]]
    words: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Group:
    """A group of data that a click selects, such as those that made a verdict.

    Attributes:
        title: of the verdict.
        mark: a sign of its level, which is seen without colour.
        words: which data these are.
        indices: of the data, counted from 0; empty where no datum made the verdict, which ``words`` explains.
        sort_by: the title of the column by which they are shown, the largest first; empty keeps the order.
    """

    title: str
    mark: str
    words: str
    indices: NDArray[np.int64]
    sort_by: str = ""


@dataclass(frozen=True)
class Posterior:
    """The posterior of every datum in the plane of the map.

    Attributes:
        guide: draws of the guide [N, S, 2].
        mean: of more draws than are shown [N, 2].
        covariance: likewise [N, 2, 2].
        reference: draws of a reference posterior [R, 2] by datum; few data have any.
        ways: how these draws were made, in words, by datum.
    """

    guide: NDArray[np.float32]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    reference: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    ways: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plane:
    """Decoded points of the map, on a grid.

    Attributes:
        low: the lower left corner in the map's coordinates.
        high: the upper right one.
        tiles: what is decoded at each, rows from below, [G, G, H, W], [G, G, H, W, 3], or [G, G, D] of a table.
        words: what is held fixed.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    tiles: NDArray[np.generic]
    words: str


@dataclass(frozen=True)
class Scene:
    """All that an explorable view shows.

    Attributes:
        points: the place of every datum on the map [N, 2].
        axes: the names of its axes.
        columns: of the table; titles are all different.
        colour_by: the title of the column that colours the points at first.
        sort_by: that by which the table is sorted at first, the largest first.
        pictures: images of the data; or
        rows: rows of a table; or None.
        groups: what a click selects.
        posterior: draws in the plane of the map; None where the map has none, such as UMAP's.
        plane: what is decoded between the data; None where nothing is.
        notes: sentences below the map.
        limit: above which values of ``sort_by`` are bad; NaN where nothing is known of that.

    Raises:
        DataError: a column, or the pictures, are of another number of data; or two columns have one title.
    """

    points: NDArray[np.floating]
    axes: tuple[str, str]
    columns: Sequence[Column]
    colour_by: str
    sort_by: str
    pictures: Pictures | None = None
    rows: TableRows | None = None
    groups: Sequence[Group] = ()
    posterior: Posterior | None = None
    plane: Plane | None = None
    notes: Sequence[str] = ()
    limit: float = math.nan

    def __post_init__(self) -> None:
        count = len(self.points)
        shown = {} if self.pictures is None else dict(self.pictures.tiles)
        listed = {column.title: column.values for column in self.columns}
        for title, values in (*listed.items(), *shown.items()):
            if len(values) != count:
                raise DataError(f"column {title!r}: expected a value for each of {count} data, found {len(values)}")
        if len(listed) != len(self.columns):
            titles = [column.title for column in self.columns]
            twice = next(title for title in titles if titles.count(title) > 1)
            raise DataError(f"columns: two have the title {twice!r}")
        if not np.isfinite(self.points).all():
            raise DataError("points: some places on the map are NaN or infinite")
