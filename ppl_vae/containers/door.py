"""The one door for containers: frames, labelled arrays, sparse matrices, annotated ones, data sets and files.

A container is known by what it can do, so that no library is imported for the question. Of a table the columns that
the programs take by name are covariates and all others make x; of an annotated matrix x is X and covariates are
columns of ``obs``; a set of named arrays is what a dict of them is. Values are not judged here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.containers.annotated import Annotated, matrix_of, read_h5ad
from ppl_vae.containers.columnar import ArrowTable, Columnar, LazyFrame, arrays_of
from ppl_vae.containers.labels import Labels
from ppl_vae.containers.rows import Rows, Sparse, StoredRows, sparse_rows
from ppl_vae.containers.table_file import TABLES, decimals_as_floats, read_frame
from ppl_vae.errors import DataError


@runtime_checkable
class Frame(Protocol):
    """A table of named columns: pandas' DataFrame has rows with names, polars' has none."""

    @property
    def columns(self) -> Iterable[object]:
        """The names of the columns."""

    def __getitem__(self, name: str) -> object: ...

    def to_numpy(self) -> np.ndarray:
        """All cells."""

    def drop(self, *, columns: list[str]) -> object:
        """The table without some columns."""


class Table(Protocol):
    """The columns of a table by name, and how their cells become numbers."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Their names, in the order of the data's coordinates."""

    def coded(self, frame: Frame) -> Tensor:
        """The numbers in a frame [N, D], in that order."""

    def frame(self, x: Tensor) -> Any:
        """Numbers [N, D] as a frame of pandas again, levels by their names."""


@runtime_checkable
class HasIndex(Protocol):
    """A frame or series whose rows have names."""

    @property
    def index(self) -> object:
        """The names of the rows."""

    @property
    def iloc(self) -> object:
        """Rows by position."""


@runtime_checkable
class LabelledArray(Protocol):
    """An array of xarray's, whose dimensions have names and coordinates."""

    @property
    def dims(self) -> Sequence[Hashable]:
        """The names of its dimensions."""

    @property
    def coords(self) -> Mapping[Hashable, LabelledArray]:
        """The coordinates by name."""

    @property
    def values(self) -> np.ndarray:
        """The numbers."""


@runtime_checkable
class ArraysByName(Protocol):
    """Several arrays of xarray's."""

    @property
    def data_vars(self) -> Mapping[Hashable, LabelledArray]:
        """The arrays by name."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A container that was opened.

    Attributes:
        x: the data, as an array or ``Rows``; of a table all its columns.
        labels: the names of its rows and coordinates.
        beside: what may be covariates, by name; only those that programs take are looked at.
        is_table: whether ``beside`` are columns of x itself.
        by_name: the arrays of a set of named ones, in the place of x.
    """

    x: object = None
    labels: Labels = field(default_factory=Labels)
    beside: Mapping[str, object] = field(default_factory=dict)
    is_table: bool = False
    by_name: Mapping[str, object] | None = None

    def arranged(self, data: str, takes: Callable[[str], bool]) -> object:
        """x alone, or a dict of x by the name ``data`` and the covariates that programs take."""
        if self.by_name is not None:
            return self._renamed(data, takes)
        given = {name: values for name, values in self.beside.items() if takes(name)}
        if not given:
            return self.x
        return {data: self._without(list(given)), **given}

    def labelled(self, takes: Callable[[str], bool]) -> Labels:
        """The labels of x without its covariates."""
        if not self.is_table or not self.labels.axes or self.labels.axes[0] is None:
            return self.labels
        kept = np.array([name for name in self.labels.axes[0] if not takes(name)], self.labels.axes[0].dtype)
        return replace(self.labels, axes=(kept,))

    def _without(self, columns: list[str]) -> object:
        """The data without some columns, where they are columns of x itself."""
        if not self.is_table or not isinstance(self.x, Frame):
            return self.x
        # By position pandas drops rows, and polars takes the names of columns by position alone.
        frame: Any = self.x
        of_pandas = isinstance(self.x, HasIndex)
        return frame.drop(columns=columns) if of_pandas else frame.drop(columns)

    def _renamed(self, data: str, takes: Callable[[str], bool]) -> Mapping[str, object]:
        """The named arrays, of which the only one that is no covariate is x, whatever its name."""
        assert self.by_name is not None
        others = [name for name in self.by_name if not takes(name)]
        if data in self.by_name or len(others) != 1:
            return self.by_name
        return {data if name == others[0] else name: values for name, values in self.by_name.items()}


Container: TypeAlias = (
    Opened
    | Frame
    | HasIndex
    | LabelledArray
    | ArraysByName
    | Sparse
    | Annotated
    | Columnar
    | ArrowTable
    | LazyFrame
    | os.PathLike[str]
)
# Whatever a function of data takes in one piece: an array of any library, or a container with names; and, for
# programs that take covariates, a tuple (x, c1, ..., cm) or a dict of named arrays.
Data: TypeAlias = ArrayLike | Tensor | Rows | Container | tuple[object, ...] | Mapping[str, object]


def is_container(data: object) -> bool:
    """Tell whether the door opens it."""
    if isinstance(data, Tensor | tuple | list | Rows) or type(data) in (np.ndarray, dict):
        return False
    if isinstance(data, Opened | Sparse | LabelledArray | ArraysByName | Annotated | np.memmap):
        return True
    if isinstance(data, Columnar | ArrowTable | LazyFrame):
        return True
    if isinstance(data, str | os.PathLike):
        return Path(data).suffix.lower() in (*TABLES, ".h5ad")
    return isinstance(data, Frame | HasIndex)


def opened(data: object) -> Opened:
    """Open a container; an array, or what else there is, is x itself without names.

    Raises:
        DataError: a file is missing, damaged or needs a library that is not installed; or there are no columns.
    """
    if isinstance(data, Opened):
        return data
    if isinstance(data, str | os.PathLike) and is_container(data):
        return _read(Path(data))
    if isinstance(data, np.memmap):
        return Opened(StoredRows(data) if data.ndim > 1 else data)
    if isinstance(data, Annotated):
        labels = Labels(np.asarray(data.obs_names), (np.asarray(data.var_names),), columns=True)
        return Opened(matrix_of(data), labels, {str(name): data.obs[name] for name in data.obs})
    if isinstance(data, Sparse):
        return Opened(sparse_rows(data))
    if isinstance(data, ArraysByName):
        return _set(data)
    if isinstance(data, LabelledArray):
        return Opened(data.values, _coordinates(data))
    if isinstance(data, Columnar):
        return Opened(by_name=arrays_of(data))
    if isinstance(data, ArrowTable | LazyFrame):
        return _table(frame_of(data))
    if isinstance(data, Frame):
        return _table(data)
    if isinstance(data, HasIndex):
        rows = _row_names(data)
        return Opened(data, Labels(rows, counted=rows is None))
    return Opened(data)


def frame_of(data: ArrowTable | LazyFrame) -> Any:
    """The frame that a table of Arrow's, or a frame that is not yet computed, stands for."""
    return data.to_pandas() if isinstance(data, ArrowTable) else data.collect()


def require_one_order(arguments: Sequence[object]) -> None:
    """Refuse arguments that stand beside each other, row by row, and whose rows have names in another order.

    Raises:
        DataError: the first that does not fit is named, by its place where it has no name of its own.
    """
    named = [(index, opened(each)) for index, each in enumerate(arguments) if is_container(each)]
    for index, other in named[1:]:
        own = getattr(arguments[index], "name", None)
        name = own if isinstance(own, str) else f"argument {index + 1}"
        named[0][1].labels.require_same_rows(other.labels, name)


def require_same_dimension(x: object, other: object, name: str) -> None:
    """Refuse an array beside x whose first dimension is by its name another one of x.

    Raises:
        DataError: it is; both names are told.
    """
    if not (isinstance(x, LabelledArray) and isinstance(other, LabelledArray) and x.dims and other.dims):
        return
    if other.dims[0] != x.dims[0] and other.dims[0] in x.dims:
        raise DataError(
            f"{name}: its rows run along {str(other.dims[0])!r}, those of x along {str(x.dims[0])!r}; give "
            f"x.transpose({str(other.dims[0])!r}, ...)"
        )


def _table(given: Frame) -> Opened:
    # A frame with an index is one of pandas'.
    frame: Any = decimals_as_floats(cast(Any, given)) if isinstance(given, HasIndex) else given
    names = list(frame.columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"data: column {twice!r} is there twice: a column is known by its name")
    rows = _row_names(frame) if isinstance(frame, HasIndex) else None
    unnamed = names == list(range(len(names)))
    columns = None if unnamed else np.array([str(name) for name in names])
    beside = {name: frame[name] for name in names if isinstance(name, str)}
    counted = rows is None and isinstance(frame, HasIndex)
    return Opened(frame, Labels(rows, (columns,), columns=True, counted=counted), beside, is_table=True)


def _row_names(frame: HasIndex) -> np.ndarray | None:
    """The names of rows; None where they are numbered from 0."""
    index = frame.index
    names = np.asarray(index)
    if names.dtype.kind in "iu" and np.array_equal(names, np.arange(len(names))):
        return None
    return _as_names(names)


def _as_names(values: object) -> np.ndarray:
    """Names as an array that files have a type for: those of several levels, which are tuples, as texts."""
    names = np.asarray(values)
    if names.dtype.kind != "O":
        return names
    return np.array([name if isinstance(name, str) else str(name) for name in names])


def _coordinates(array: LabelledArray) -> Labels:
    """The coordinates of an array's dimensions, which index it."""
    names = [_as_names(array.coords[dim].values) if dim in array.coords else None for dim in array.dims]
    rows, *axes = names if names else [None]
    return Labels(rows, tuple(axes), columns=len(axes) == 1, dims={"": tuple(map(str, array.dims))})


def _set(arrays: ArraysByName) -> Opened:
    """A Dataset of xarray's; its labels are those of the variable that is x."""
    by_name = {str(name): values for name, values in arrays.data_vars.items()}
    if not by_name:
        raise DataError("data: a Dataset without variables")
    return Opened(by_name=by_name)


def _read(path: Path) -> Opened:
    if path.suffix.lower() == ".h5ad":
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        x, obs, rows, columns = read_h5ad(path)
        return Opened(x, Labels(rows, (columns,), columns=True), obs)
    return _table(read_frame(path))
