"""Words as numbers mean the same in a file and in a model, or are refused."""

from __future__ import annotations

from ppl_vae.data import Dataset
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.words import levels_of


def require_same_levels(model: Program, data: Dataset) -> None:
    """Refuse a data set whose words have other numbers than the levels of a model's columns.

    Columns of either that the other has no words of are passed over.

    Raises:
        DataError: the words are others, or in another order; the column is named.
    """
    own = levels_of(model)
    for column in own.keys() & data.column_levels.keys():
        words, names = data.column_levels[column], own[column]
        if words != names:
            raise DataError(
                f"data set {data.name!r}: column {column!r} has the levels {', '.join(map(repr, words))}, in the "
                f"model {', '.join(map(repr, names))}, in this order; load the data with "
                f"levels={{{column!r}: {list(names)}}}"
            )
