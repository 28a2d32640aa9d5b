"""Frames of named columns, of any library, as frames of pandas, whose columns say of which kind they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ppl_vae.containers.columnar import ArrowTable, LazyFrame
from ppl_vae.containers.door import Frame, frame_of
from ppl_vae.containers.table_file import decimals_as_floats
from ppl_vae.declared import declared
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class Listed(Protocol):
    """A series of polars'."""

    def to_list(self) -> list[object]:
        """Its values."""


@dataclass(frozen=True)
class Levelled:
    """The optional attribute of a column's type.

    Attributes:
        categories: the words of an Enum of polars', in their order.
    """

    categories: object = None


@dataclass(frozen=True)
class Typed:
    """The optional attribute of a column.

    Attributes:
        dtype: its type.
    """

    dtype: object = None


def as_pandas(frame: object) -> pd.DataFrame:
    """A frame of pandas that may be renamed; one of another library by way of its columns.

    Raises:
        DataError: it is no frame.
    """
    import pandas as pd

    found: Any = frame_of(frame) if isinstance(frame, ArrowTable | LazyFrame) else frame
    if not isinstance(found, pd.DataFrame):
        if not isinstance(found, Frame):
            raise DataError(f"data: expected a frame of named columns, found {type(frame).__name__}")
        found = pd.DataFrame({name: _series(found[str(name)]) for name in found.columns})
    return decimals_as_floats(found).copy(deep=False)


def _series(column: Any) -> Any:
    """A column of polars' as pandas has it: an Enum is an ordered category, as polars itself converts it."""
    import pandas as pd

    levels = declared(Levelled, declared(Typed, column).dtype).categories
    if isinstance(levels, Listed):
        return pd.Series(pd.Categorical(column.to_list(), categories=levels.to_list(), ordered=True))
    return pd.Series(column.to_list())
