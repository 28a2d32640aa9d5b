"""Tables by columns whose libraries need not be there: data sets of Hugging Face's, Arrow's tables, lazy frames.

They are known by what they can do. A data set of Hugging Face's is read as it shows itself: with the transform that
it was given, and the columns that it was told to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ppl_vae.declared import declared


@runtime_checkable
class Columnar(Protocol):
    """A map-style data set of Hugging Face's."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""

    def with_format(self, kind: str) -> Mapping[str, np.ndarray]:
        """The same, whose columns are arrays of a kind."""

    def __len__(self) -> int: ...


@runtime_checkable
class ArrowTable(Protocol):
    """A table of pyarrow's, or a batch of its records."""

    @property
    def schema(self) -> object:
        """The names and types of the columns."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""

    def to_pandas(self) -> Any:
        """The same as a frame of pandas."""


@runtime_checkable
class LazyFrame(Protocol):
    """A frame of polars' that is not yet computed."""

    def collect_schema(self) -> object:
        """The names and types of the columns."""

    def collect(self) -> Any:
        """The frame."""


@dataclass(frozen=True)
class Shown:
    """How a data set of Hugging Face's shows itself.

    Attributes:
        format: its "type", which is "custom" of a transform, and the "columns" that are shown.
    """

    format: Mapping[str, object] | None = None


def arrays_of(data: Columnar) -> dict[str, object]:
    """The columns by name, as the data set shows them."""
    shown = declared(Shown, data).format or {}
    if shown.get("type") == "custom":
        # Another format would take the place of the transform.
        rows: Any = data
        return {name: _stacked(values) for name, values in rows[:].items()}
    arrays, names = data.with_format("numpy"), shown.get("columns") or data.column_names
    assert isinstance(names, Sequence)
    return {name: arrays[name] for name in names}


def _stacked(values: object) -> object:
    """A column of a transform's, of which every datum may be a tensor."""
    is_list = isinstance(values, list) and values and all(isinstance(value, Tensor) for value in values)
    return torch.stack(values) if is_list and len({v.shape for v in values}) == 1 else values  # type: ignore[attr-defined, arg-type]
