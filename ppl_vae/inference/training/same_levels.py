"""Words as numbers mean the same in a file and in a model, or are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppl_vae.data import Dataset
from ppl_vae.declared import declared
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.protocols import Program, traits


@dataclass(frozen=True)
class Worded:
    """The optional attribute of a model's table.

    Attributes:
        column_levels: by column the words of its levels in the order of their numbers.
    """

    column_levels: Mapping[str, tuple[str, ...]] | None = None


def require_same_levels(model: Program, data: Dataset) -> None:
    """Refuse a data set whose words have other numbers than the levels of a model's columns.

    Columns of either that the other has no words of are passed over.

    Raises:
        DataError: the words are others, or in another order; the column is named.
    """
    own = declared(Worded, traits(model).table).column_levels or {}
    for column in own.keys() & data.column_levels.keys():
        words, names = data.column_levels[column], own[column]
        if words != names:
            raise DataError(
                f"data set {data.name!r}: column {column!r} has the levels {', '.join(map(repr, words))}, in the "
                f"model {', '.join(map(repr, names))}, in this order; load the data with "
                f"levels={{{column!r}: {list(names)}}}"
            )
