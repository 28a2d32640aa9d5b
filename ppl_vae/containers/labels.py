"""The names of data and of their coordinates, which come out again in tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ppl_vae.errors import DataError

Axes = tuple[np.ndarray | None, ...]
# As many names as an error shows.
SHOWN = 6
TRAINING = "the training data"
# Before the name of an argument: what follows are the names of its dimensions.
DIMENSIONS = "dimensions of "
# The names along the event dimensions of x, under the empty name, and of each covariate that has any; and those of
# the dimensions themselves, of all and of an event's, where they have any.
CoordinateNames = dict[str, list[list[str] | None]]


@dataclass(frozen=True, eq=False)
class Labels:
    """Names along the dimensions of data [N, *event_shape].

    Attributes:
        rows: the name of every datum [N]; None where they have none.
        axes: the names along each event dimension, None where there are none; fewer than the event shape has where
            the last have none.
        columns: whether the one event dimension is that of a table's columns.
        counted: whether rows without names are numbered from 0 by their container, as by an index of pandas'.
        beside: the names along the event dimensions of the covariates, by their names.
        dims: the names of all dimensions, of x under the empty name and of covariates that have any.
    """

    rows: np.ndarray | None = None
    axes: Axes = ()
    columns: bool = False
    counted: bool = False
    beside: Mapping[str, Axes] = field(default_factory=dict)
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def taken(self, rows: slice | np.ndarray) -> Labels:
        """The labels of some of the data."""
        return replace(self, rows=None if self.rows is None else self.rows[rows], counted=False)

    def with_columns(self, names: Sequence[str]) -> Labels:
        """The labels of a table whose columns have these names, in this order."""
        return Labels(self.rows, (np.array(list(names)),), columns=True, beside=self.beside)

    def coordinates(self) -> CoordinateNames:
        """The names along event dimensions as texts, and of dimensions, of what has any; "" stands for x."""
        named = {
            name: axes for name, axes in {"": self.axes, **self.beside}.items() if any(a is not None for a in axes)
        }
        found: CoordinateNames = {
            name: [None if axis is None else [str(each) for each in axis.tolist()] for axis in axes]
            for name, axes in named.items()
        }
        for name, dims in self.dims.items():
            found[DIMENSIONS + (name or "x")] = [list(dims), list(dims[1:])]
        return found

    def at(self, index: Sequence[int]) -> str:
        """Words for a place [n, i, ...]: its names where it has any, with "row" and "column" before them.

        >>> Labels(np.array(["p1", "p2"]), (np.array(["age"]),), columns=True).at([1, 0])
        "row 'p2', column 'age'"
        """
        row = index[0] if self.rows is None else _plain(self.rows[index[0]])
        names = [
            place if axis is None else _plain(axis[place])
            for place, axis in zip(index[1:], (*self.axes, *[None] * len(index)), strict=False)
        ]
        named = any(axis is not None for axis in self.axes)
        if not named:
            return f"index {list(index)}" if self.rows is None else f"row {row!r}, index {list(index)}"
        kind = "column" if self.columns else "coordinate"
        return f"row {row!r}, {kind} {', '.join(map(repr, names))}"

    def require_same_rows(self, other: Labels, name: str) -> None:
        """Refuse rows that are named otherwise than these: what stands beside each other would not belong together.

        Raises:
            DataError: the first that differs is named.
        """
        own, theirs = _compared(self, other), _compared(other, self)
        if own is None or theirs is None or len(own) != len(theirs):
            return
        differing = np.flatnonzero(np.asarray(own != theirs))
        if len(differing):
            first = differing[0]
            raise DataError(
                f"{name}: its rows are named otherwise than those of x, the first at row {first}: "
                f"{_plain(theirs[first])!r} beside {_plain(own[first])!r}; bring them into one order, or "
                "give arrays without names"
            )


def _compared(labels: Labels, other: Labels) -> np.ndarray | None:
    """The names of rows, which are their numbers where the other's are the same numbers in some order."""
    if labels.rows is not None or not labels.counted or other.rows is None or other.rows.dtype.kind not in "iu":
        return labels.rows
    numbers = np.arange(len(other.rows))
    return numbers if np.array_equal(np.sort(other.rows), numbers) else None


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def require_same_order(known: CoordinateNames, labels: Labels, of: str = TRAINING) -> None:
    """Refuse data whose coordinates are those that a model was trained on, or others, in another order.

    Args:
        known: the names in their order.
        labels: those of the data.
        of: what they are the names of.

    Raises:
        DataError: they are; both orders are shown.
    """
    found = labels.coordinates() if known else {}
    has = "the model was trained on" if of == TRAINING else "they are"
    for name in known.keys() & found.keys():
        for own, theirs in zip(known[name], found[name], strict=False):
            if own is None or theirs is None or own == theirs or sorted(own) != sorted(theirs):
                continue
            what, are = name or "data", "the names along a dimension are"
            if name.startswith(DIMENSIONS):
                what, are = name.removeprefix(DIMENSIONS), "its dimensions are"
            raise DataError(
                f"{what}: {are} those of {of} in another order: {_shown(theirs)} where {has} {_shown(own)}; "
                "bring them into that order"
            )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
