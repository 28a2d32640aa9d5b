"""Arrays of numbers from any library as dense tensors: the one place where data in memory enter.

Taken are tensors, NumPy arrays of any byte order and stride, nested lists of numbers, and what turns into a NumPy
array of numbers by itself, such as a DataFrame whose columns are all numbers, or a DataArray. Masked cells
(``numpy.ma``) and pandas' NA become NaN, which stands for a missing value; what lies under a mask is never read.
Everything else is refused in one line that says what to call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.declared import declared
from ppl_vae.errors import DataError

#: How a model is told that NaN stands for a missing value; the end of every refusal of NaN.
MISSING_VALUES = (
    "where NaN (or a masked cell) stands for a missing value, ask for "
    "likelihood={'name': 'missing-pixels', 'of': 'gaussian'}, or another likelihood's name for "
    "'gaussian'; a program of your own declares it by allows_missing = True"
)

_EXPECTED = "a tensor or an array of numbers [N, *event_shape]"
_REAL = "biuf"
# torch has few operations on these: each becomes the next type that holds its values.
_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.float64}
_WAYS = {
    "c": "complex numbers; give x.real, x.imag or abs(x)",
    "O": "objects; give numbers, for instance x.astype(float)",
    "S": "text",
    "U": "text",
    "V": "records; give numpy.lib.recfunctions.structured_to_unstructured(x)",
    "M": "dates; give numbers, such as days since the first",
    "m": "durations; give numbers, such as x / numpy.timedelta64(1, 's')",
}


# Numbers as a user gives them: a tensor, or an array of another library, also a nested list.
Array: TypeAlias = ArrayLike | Tensor


@runtime_checkable
class SupportsArray(Protocol):
    """An object that turns into a NumPy array by itself."""

    def __array__(self) -> np.ndarray: ...


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix of scipy's."""

    nnz: int

    def toarray(self) -> np.ndarray:
        """The dense array."""


class Kind(Protocol):
    """The type of a column, of NumPy's or of pandas' own."""

    kind: str


@runtime_checkable
class Kinds(Protocol):
    """The types of a table's columns, by name."""

    def items(self) -> Iterable[tuple[object, Kind]]:
        """Name and type of each."""


@runtime_checkable
class Table(Protocol):
    """A pandas DataFrame or Series; pandas itself need not be there.

    Attributes:
        iloc: rows by position, which tells it from other libraries' tables.
        dtypes: the types of its columns, or of the one.
    """

    iloc: object
    dtypes: Kinds | Kind

    def to_numpy(self, dtype: type | None = None, *, na_value: float = ...) -> np.ndarray:
        """All cells."""


@runtime_checkable
class Named(Protocol):
    """A Series, which may have a name."""

    name: object


@runtime_checkable
class TypeOfTime(Protocol):
    """The type of a column of polars', which tells dates, times and durations."""

    def is_temporal(self) -> bool:
        """Tell whether it is one of them."""


@dataclass(frozen=True)
class Typed:
    """The attributes of a frame of polars'.

    Attributes:
        columns: their names.
        dtypes: their types.
    """

    columns: Sequence[object] = ()
    dtypes: Sequence[object] = ()


@dataclass(frozen=True)
class Parts:
    """The attributes by which containers of several arrays are known.

    Attributes:
        x: the data of a split.
        train: the first split of a data set.
        data_vars: the variables of an xarray Dataset.
    """

    x: object = None
    train: object = None
    data_vars: object = None


def all_finite(x: Tensor) -> bool:
    """Tell whether no value is infinite or NaN.

    One sum says it of most data, in a twentieth of the time: neither of them leaves a sum finite.
    """
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


def is_array(x: object) -> bool:
    """Tell whether x is one array, and no iterable of several; `to_tensor` may still refuse it."""
    if isinstance(x, Tensor | np.ndarray | SupportsArray | Sparse):
        return True
    while isinstance(x, list | tuple) and x:
        x = x[0]
    return isinstance(x, Number | np.generic)


def to_tensor(x: object, what: str = "data", expected: str = _EXPECTED) -> Tensor:
    """Convert x to a dense tensor of real numbers; a tensor is kept, and memory is shared where torch can.

    Args:
        x: as above.
        what: its name in an error.
        expected: what it should be, for an error.

    Raises:
        DataError: x is no array of real numbers; the message says what to call.

    >>> to_tensor(np.ma.masked_array([1.0, 9.0], mask=[False, True]))
    tensor([1., nan], dtype=torch.float64)
    """
    if isinstance(x, Tensor):
        return _dense(x, what)
    values = _native(_numbers(x, what, expected))
    return _dense(torch.from_numpy(values), what)


def _dense(x: Tensor, what: str) -> Tensor:
    if x.layout != torch.strided:
        raise DataError(f"{what}: expected a dense tensor, found layout {x.layout}; give x.to_dense()")
    if x.is_complex():
        raise DataError(f"{what}: expected real numbers, found a tensor of {_WAYS['c']}")
    if x.is_quantized:
        raise DataError(f"{what}: expected plain numbers, found a quantized tensor; give x.dequantize()")
    if x.is_nested:
        raise DataError(f"{what}: expected one dense tensor, found a nested one; give x.to_padded_tensor(nan)")
    if x.is_meta:
        raise DataError(f"{what}: expected numbers, found a tensor on the meta device, which holds none")
    # Of a tensor that was made in inference mode no gradient can be taken, of a copy it can.
    x = x.clone() if x.is_inference() else x
    return x.to(_WIDER[x.dtype]) if x.dtype in _WIDER else x


def _numbers(x: object, what: str, expected: str) -> np.ndarray:
    """Convert x to an array of real numbers, NaN where a cell is masked or absent."""
    if isinstance(x, np.ma.MaskedArray):
        return _unmasked(x, what, expected)
    _refuse_containers(x, what, expected)
    if isinstance(x, Table):
        return _table(x, what)
    _refuse_times(x, what)
    try:
        values = np.asarray(x)
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        raise DataError(f"{what}: expected {expected}, found {type(x).__name__} ({_first_line(error)})") from None
    return _checked(values, x, what, expected)


def _checked(values: np.ndarray, x: object, what: str, expected: str) -> np.ndarray:
    if values.dtype.kind in _REAL:
        return values
    way = _WAYS.get(values.dtype.kind, f"dtype {values.dtype}")
    found = type(x).__name__ if values.ndim == 0 else f"{type(x).__name__} of {way}"
    raise DataError(f"{what}: expected {expected}, found {found}")


def _unmasked(x: np.ma.MaskedArray, what: str, expected: str) -> np.ndarray:
    mask = np.ma.getmaskarray(x)
    plain = _checked(np.asarray(x.data), x.data, what, expected)
    if not mask.any():
        return plain
    # A type that has NaN, and holds the values exactly where there is one.
    kind = np.result_type(plain.dtype, np.float16) if plain.dtype.itemsize < 8 else np.dtype(np.float64)
    return np.where(mask, np.nan, plain.astype(kind)).astype(kind)


def _table(x: Table, what: str) -> np.ndarray:
    columns = (
        x.dtypes.items() if isinstance(x.dtypes, Kinds) else [(x.name if isinstance(x, Named) else None, x.dtypes)]
    )
    for name, dtype in columns:
        if dtype.kind not in _REAL:
            raise _no_numbers(what, name, dtype)
    values = x.to_numpy()
    if values.dtype.kind not in _REAL:
        # Nullable columns, or numbers beside booleans.
        values = x.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(values)


def _no_numbers(what: str, column: object, dtype: object) -> DataError:
    return DataError(
        f"{what}: expected columns of numbers, found column {column!r} of dtype {dtype}; leave it out, or turn it "
        "into numbers"
    )


def _refuse_times(x: object, what: str) -> None:
    """Refuse a frame of polars' with times: beside numbers they would become their microseconds."""
    typed = declared(Typed, x)
    if not isinstance(typed.dtypes, list):
        return
    for name, kind in zip(typed.columns, typed.dtypes, strict=False):
        if isinstance(kind, TypeOfTime) and kind.is_temporal():
            raise _no_numbers(what, name, kind)


def _refuse_containers(x: object, what: str, expected: str) -> None:
    name = type(x).__name__
    if isinstance(x, Sparse):
        raise DataError(f"{what}: expected a dense array, found the sparse {name}; give x.toarray()")
    parts = declared(Parts, x)
    if declared(Parts, parts.train).x is not None:
        raise DataError(f"{what}: expected an array [N, *event_shape], found a {name}; give .train.x or .test.x")
    if isinstance(parts.x, Tensor):
        raise DataError(f"{what}: expected an array [N, *event_shape], found a {name}; give its .x")
    if parts.data_vars is not None:
        raise DataError(f"{what}: expected one array, found a {name} of several; give one of them, x['name']")
    if isinstance(x, torch.utils.data.Dataset):
        # Item by item it would become an array of one more dimension.
        raise DataError(
            f"{what}: expected {expected}, found a {name} of torch's; give its tensor, or a DataLoader of it"
        )
    if isinstance(x, list | tuple) and x and isinstance(x[0], Tensor) and x[0].dim():
        raise DataError(
            f"{what}: expected one array [N, *event_shape], found a {name} of tensors; give torch.stack or "
            "torch.cat of it"
        )
    if isinstance(x, str | bytes):
        raise DataError(f"{what}: expected {expected}, found {name}; a file's data are load_dataset(path).train.x")


def _native(values: np.ndarray) -> np.ndarray:
    """Convert an array to native byte order, positive strides and a type of torch's; writable, as torch asks."""
    dtype = values.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    # Rows side by side, as batches have them: sums over another order of memory differ in their last digits.
    plain = np.asarray(values, dtype=dtype, order="C")
    if not plain.flags.writeable or any(stride < 0 for stride in plain.strides):
        plain = plain.copy()
    return plain


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."
