"""Columns, and words as numbers, mean the same in a file and in a model, or are refused."""

from __future__ import annotations

from ppl_vae.containers import require_same_order
from ppl_vae.data import Dataset
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.words import levels_of


def require_same_levels(model: Program, data: Dataset) -> None:
    """Refuse a data set whose columns stand in another order than a model's, or whose words have other numbers.

    Columns of either that the other has no words of are passed over.

    Raises:
        DataError: the columns, or the words of one, which is named, stand in another order; or words are others.
    """
    table = traits(model).table
    if table is not None and data.column_names:
        require_same_order({"": [list(table.column_names)]}, data.labels(data.train), "the model's columns")
    own = levels_of(model)
    for column in own.keys() & data.column_levels.keys():
        words, names = data.column_levels[column], own[column]
        if words != names:
            raise DataError(
                f"data set {data.name!r}: column {column!r} has the levels {', '.join(map(repr, words))}, in the "
                f"model {', '.join(map(repr, names))}, in this order; load the data with "
                f"levels={{{column!r}: {list(names)}}}"
            )
