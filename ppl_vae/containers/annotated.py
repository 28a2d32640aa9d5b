"""Annotated matrices of cells and genes: AnnData objects, and the .h5ad files in which they are stored.

A file is read by its published format (https://anndata.readthedocs.io, "On-disk format"), so that no other library
is needed: X dense or compressed by rows or columns, the columns of ``obs``, and the names of rows and columns. What
else it holds is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ppl_vae.containers.rows import Rows, Sparse, sparse_rows
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import h5py


class Columns(Protocol):
    """Columns by name, as of a DataFrame."""

    def __iter__(self) -> Iterator[str]: ...

    def __getitem__(self, name: str) -> object: ...


@runtime_checkable
class Annotated(Protocol):
    """An AnnData object, known by its attributes."""

    X: object
    obs: Columns
    obs_names: object
    var_names: object


@runtime_checkable
class Backed(Protocol):
    """A sparse matrix that AnnData left in its file."""

    def to_memory(self) -> object:
        """The same as scipy has it."""


@runtime_checkable
class Delayed(Protocol):
    """An array that is computed when it is asked for, as dask's."""

    def compute(self) -> object:
        """The array."""


def matrix_of(data: Annotated) -> Rows | np.ndarray:
    """The matrix X of an AnnData object, which may lie in its file or be computed later.

    Raises:
        DataError: there is none.
    """
    x = data.X
    if x is None:
        raise DataError("data: an AnnData object without X; give a layer, data.layers['counts'], or set data.X")
    x = x.to_memory() if isinstance(x, Backed) else x.compute() if isinstance(x, Delayed) else x
    return sparse_rows(x) if isinstance(x, Sparse) else np.asarray(x)


def read_h5ad(path: Path) -> tuple[Rows | np.ndarray, dict[str, object], np.ndarray, np.ndarray]:
    """Read x, the columns of obs by name, and the names of rows and columns.

    Raises:
        DataError: the file is none of that format, or X is not stored in a form that is known.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            x = _matrix(file["X"], path)
            obs = {str(name): _column(item) for name, item in file["obs"].items()}
            rows, columns = (_index(file[group], path) for group in ("obs", "var"))
    except (OSError, KeyError) as error:
        raise DataError(f"{path}: expected an .h5ad file with X, obs and var ({error})") from None
    return x, {name: values for name, values in obs.items() if values is not None}, rows, columns


def _matrix(stored: h5py.Group | h5py.Dataset, path: Path) -> Rows | np.ndarray:
    if not _is_group(stored):
        return stored[()]
    kind = stored.attrs.get("encoding-type", stored.attrs.get("h5sparse_format", ""))
    shape = stored.attrs.get("shape", stored.attrs.get("h5sparse_shape"))
    form = str(kind)[:3]
    if form not in ("csr", "csc"):
        raise DataError(f"{path}: expected X as an array, or a csr or csc matrix, found encoding {kind!r}")
    from scipy.sparse import csc_matrix, csr_matrix

    parts = tuple(stored[name][()] for name in ("data", "indices", "indptr"))
    return sparse_rows({"csr": csr_matrix, "csc": csc_matrix}[form](parts, shape=tuple(shape)), str(path))


def _column(item: h5py.Group | h5py.Dataset) -> np.ndarray | None:
    """A column of obs: numbers, text, or the names of categories; None of another encoding."""
    if not _is_group(item):
        return _text(item)
    if {"codes", "categories"} <= set(item):
        codes, categories = item["codes"][()], _column(item["categories"])
        if categories is None:
            return None
        named = np.concatenate([categories.astype(object), np.array([None], object)])
        return named[codes]
    return _nullable(item) if {"values", "mask"} <= set(item) else None


def _nullable(item: h5py.Group) -> np.ndarray:
    """A column of a nullable type: numbers of which those under the mask are NaN, or text, None there."""
    values, mask = _text(item["values"]), item["mask"][()].astype(bool)
    if not mask.any():
        return values
    is_text = values.dtype.kind == "O"
    found = values.astype(object if is_text else np.float64)
    found[mask] = None if is_text else np.nan
    return found


def _index(group: h5py.Group, path: Path) -> np.ndarray:
    names = _column(group[group.attrs.get("_index", "_index")])
    if names is None:
        raise DataError(f"{path}: the names in {group.name} are in no encoding that is known")
    return names


def _is_group(item: object) -> bool:
    """Tell a folder of a file from an array in it."""
    return isinstance(item, Mapping)


def _text(dataset: h5py.Dataset) -> np.ndarray:
    import h5py

    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    return np.asarray(dataset.asstr()[()] if is_text else dataset[()])
