"""Data that become dense tensors only as batches: sparse matrices, and arrays on disk.

They answer what a tensor of data [N, *event_shape] is asked on its way to a batch: their length, shape, type and
device; some of their rows, which are dense; and a copy with other rows, which is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, overload, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ppl_vae.errors import DataError

# Numbers that are looked at together where all are.
BLOCK_NUMBERS = 1 << 22


Held = TypeVar("Held", Tensor, "Rows")


class Rows(ABC):
    """Data [N, *event_shape] of which some rows at a time are dense.

    Attributes:
        shape: [N, *event_shape].
        dtype: of the dense rows.
        device: of the dense rows.
    """

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def rows(self, indices: Tensor) -> Tensor:
        """Those rows [B, *event_shape], dense."""

    @abstractmethod
    def taken(self, indices: Tensor) -> Rows:
        """The same of some of the data."""

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Rows:
        """The same with dense rows of another type, on another device."""

    @abstractmethod
    def checked_parts(self) -> Iterable[Tensor]:
        """Tensors whose values are all there is to these data, for a checksum."""

    def __len__(self) -> int:
        return self.shape[0]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def numel(self) -> int:
        """The number of values, dense."""
        return self.shape.numel()

    def element_size(self) -> int:
        """Bytes of a dense value."""
        return torch.empty(0, dtype=self.dtype).element_size()

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        if isinstance(index, int):
            return self.rows(torch.tensor([range(len(self))[index]]))[0]
        if isinstance(index, slice):
            return self.rows(torch.arange(*index.indices(len(self))))
        return self.rows(index)

    def index_select(self, dim: int, indices: Tensor) -> Tensor:
        """Rows by their indices [B], dense."""
        assert dim == 0
        return self.rows(indices)

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in their order, ``size`` of them dense at a time."""
        return (self[first : first + size] for first in range(0, len(self), size))

    def blocks(self) -> Iterator[Tensor]:
        """All rows in their order, so many at a time that they take little room."""
        return self.split(max(1, BLOCK_NUMBERS // max(1, self.shape[1:].numel())))


class SparseRows(Rows):
    """A sparse matrix [N, D] by rows, in compressed form: what is not stored is 0.

    Args:
        starts: where each row begins among the values, and where the last ends [N + 1].
        columns: of each value [M].
        values: [M].
        width: D.
        dtype: of dense rows; that of the values where None.
    """

    def __init__(
        self, starts: Tensor, columns: Tensor, values: Tensor, width: int, dtype: torch.dtype | None = None
    ) -> None:
        self.starts, self.columns, self.values, self.width = starts, columns, values, width
        self.shape = torch.Size((len(starts) - 1, width))
        self.dtype, self.device = dtype or values.dtype, values.device

    def rows(self, indices: Tensor) -> Tensor:
        """Those rows [B, D], dense."""
        places, row = self._places(indices)
        found = torch.zeros(len(indices), self.width, dtype=self.dtype, device=self.device)
        return found.index_put_((row, self.columns[places].long()), self.values[places].to(self.dtype))

    def taken(self, indices: Tensor) -> SparseRows:
        """The same of some of the data; nothing becomes dense."""
        places, row = self._places(indices)
        counts = torch.bincount(row, minlength=len(indices))
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return SparseRows(starts, self.columns[places], self.values[places], self.width, self.dtype)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> SparseRows:
        """The same on a device; its values become another type only where they become dense."""
        starts, columns, values = (part.to(device) for part in (self.starts, self.columns, self.values))
        return SparseRows(starts, columns, values, self.width, dtype or self.dtype)

    def checked_parts(self) -> Iterable[Tensor]:
        """Where rows begin, the columns and the values."""
        return self.starts, self.columns, self.values

    def _places(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Where the values of rows stand among all, and which of the rows each is in."""
        indices = indices.to(self.device)
        first = self.starts[indices]
        counts = self.starts[indices + 1] - first
        row = torch.repeat_interleave(torch.arange(len(indices), device=self.device), counts)
        before = counts.cumsum(0) - counts
        return torch.arange(len(row), device=self.device) + (first - before)[row], row


class StoredRows(Rows):
    """An array that lies in a file [N, *event_shape], as numpy.memmap gives it: rows are read as they are needed.

    Args:
        array: the file's; nothing is written to it.
        chosen: which of its rows these are; all where None.
        dtype: of dense rows; the array's own where None.
        device: of dense rows.
    """

    def __init__(
        self,
        array: np.ndarray,
        chosen: np.ndarray | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.array, self.chosen = array, chosen
        count = len(array) if chosen is None else len(chosen)
        self.shape = torch.Size((count, *array.shape[1:]))
        self.device = device or torch.device("cpu")
        self.dtype = dtype or torch.from_numpy(_native(array[:0])).dtype

    def rows(self, indices: Tensor) -> Tensor:
        """Those rows [B, *event_shape], read from the file."""
        found = torch.from_numpy(_native(self.array[self._own(indices)]))
        return found.to(self.device, self.dtype)

    def taken(self, indices: Tensor) -> StoredRows:
        """The same of some of the data; nothing is read."""
        return StoredRows(self.array, self._own(indices), self.dtype, self.device)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> StoredRows:
        """The same with dense rows of another type, on another device."""
        return StoredRows(self.array, self.chosen, dtype or self.dtype, device)

    def checked_parts(self) -> Iterable[Tensor]:
        """All rows, block by block."""
        return StoredRows(self.array, self.chosen).blocks()

    def _own(self, indices: Tensor) -> np.ndarray:
        own = indices.cpu().numpy()
        return own if self.chosen is None else self.chosen[own]


class CompressedRows(Protocol):
    """A matrix compressed by rows, as scipy has it."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    shape: tuple[int, ...]
    has_canonical_format: bool

    def copy(self) -> CompressedRows:
        """The same in memory of its own."""

    def sum_duplicates(self) -> None:
        """Add up what is stored twice in one place."""


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix of scipy's."""

    nnz: int
    shape: tuple[int, ...]

    def tocsr(self) -> CompressedRows:
        """The matrix compressed by rows."""


def sparse_rows(matrix: Sparse, what: str = "data") -> SparseRows:
    """Rows of a scipy sparse matrix or array of any format.

    Raises:
        DataError: it is no matrix of real numbers.
    """
    if len(matrix.shape) != 2:
        raise DataError(f"{what}: expected a sparse matrix [N, D], found shape {list(matrix.shape)}")
    csr = matrix.tocsr()
    if not csr.has_canonical_format:
        # What is stored twice in one place is a sum.
        csr = csr.copy()
        csr.sum_duplicates()
    if csr.data.dtype.kind not in "biuf":
        raise DataError(f"{what}: expected a sparse matrix of real numbers, found dtype {csr.data.dtype}")
    first, places = np.asarray(csr.indptr, np.int64), np.asarray(csr.indices, np.int32)
    values = torch.from_numpy(_native(csr.data))
    return SparseRows(torch.from_numpy(first), torch.from_numpy(places), values, int(csr.shape[1]))


@overload
def dense(x: Rows) -> Tensor: ...
@overload
def dense(x: object) -> object: ...
def dense(x: object) -> object:
    """All of x as one dense tensor, where it is ``Rows``; other data as they are."""
    return x[:] if isinstance(x, Rows) else x


def some_of(x: Held, indices: Tensor) -> Held:
    """Some rows of a tensor, or of ``Rows``, of which none becomes dense."""
    return x.taken(indices) if isinstance(x, Rows) else x[indices]


def _native(values: np.ndarray) -> np.ndarray:
    """A copy in native byte order, of a type that torch has."""
    kind = np.asarray(values).dtype
    if kind.kind not in "biuf":
        raise DataError(f"data: expected an array of real numbers, found dtype {kind}")
    if kind.kind == "u" and kind.itemsize > 1:
        return np.array(values, np.float64 if kind.itemsize == 8 else np.int64)
    if kind.kind == "f" and kind.itemsize > 8:
        return np.array(values, np.float64)
    return np.array(values, kind.newbyteorder("="))
