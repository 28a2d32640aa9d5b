"""Words in the columns of a table as numbers: the place of each in the levels of its column.

The levels are those that the user names, in that order; else those of a categorical dtype, in its own order; else
the words of all files that are read together, in the order of the alphabet. Other files hold other words, so a
second file for the same model is read by the levels of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ppl_vae.containers.words import require_words
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

AUTO = "auto"
Column: TypeAlias = "pd.Series[Any]"
LevelsGiven: TypeAlias = Literal["auto"] | Mapping[str, Sequence[str]] | None
Levels: TypeAlias = Mapping[str, tuple[str, ...]]
# Levels of which so many are told.
MOST_TOLD = 8


def checked_levels(levels: object) -> dict[str, tuple[str, ...]]:
    """The levels that a user names, by column; none for "auto" and None.

    Raises:
        DataError: they are no lists of words by column, or a word is there twice.
    """
    if levels is None or levels == AUTO:
        return {}
    if not isinstance(levels, Mapping) or not all(map(_are_levels, levels.values())):
        raise DataError(
            "levels: expected 'auto', or by column the list of its words, each once, as "
            f"{{'stage': ['low', 'high']}}, found {levels!r}"
        )
    return {str(name): tuple(words) for name, words in levels.items()}


def _are_levels(words: object) -> bool:
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) for word in words):
        return False
    return len(set(words)) == len(words)


def is_number(column: Column) -> bool:
    """Tell whether a column holds real numbers or booleans, of which some may be missing."""
    from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

    if is_numeric_dtype(column) or is_bool_dtype(column):
        return not is_complex_dtype(column)
    # Booleans with an empty cell among them come as objects.
    seen = column.dropna()
    return column.dtype == object and len(seen) > 0 and all(isinstance(value, bool) for value in seen)


def levels_of(columns: Sequence[Column], path: Path) -> tuple[str, ...] | None:
    """The levels of one column in all files; None where it holds anything but words.

    Raises:
        DataError: two categories are spelt alike, such as 1 and "1"; or what it holds as text are no words.
    """
    import pandas as pd

    first, name = columns[0].dtype, str(columns[0].name)
    if isinstance(first, pd.CategoricalDtype) and all(column.dtype == first for column in columns):
        words = tuple(map(str, first.categories))
        if len(set(words)) < len(words):
            raise DataError(f"{path}: column {name!r}: two of its categories are spelt alike")
        return words
    seen = {value for column in columns for value in column.dropna()}
    if not seen or not all(isinstance(value, str) for value in seen):
        return None
    require_words(name, seen, path)
    return tuple(sorted(seen))


def levels_beside(columns: Sequence[Column], path: Path) -> tuple[str, ...]:
    """The levels of a column beside x that has no empty cell, in the order of the alphabet.

    Raises:
        DataError: what it holds as text are no words.
    """
    import pandas as pd

    seen = {value for column in columns for value in column}
    is_category = all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns)
    if not is_category and all(isinstance(value, str) for value in seen):
        require_words(columns[0].name, {str(value) for value in seen}, path, dates_are_words=True)
    return tuple(sorted(map(str, seen)))


def codes_of(column: Column, levels: Sequence[str], path: Path) -> NDArray[np.float64]:
    """The places of a column's words in its levels [N], NaN where a cell is empty.

    Raises:
        DataError: a word is none of the levels; file, row, column, word and levels are named.
    """
    import pandas as pd

    places = pd.Index(np.array(levels, object)).get_indexer(np.array(column.astype(str), object))
    empty = column.isna().to_numpy()
    unknown = np.flatnonzero((places < 0) & ~empty)
    if len(unknown):
        row = int(unknown[0])
        raise DataError(
            f"{path}: column {str(column.name)!r}: {str(column.iloc[row])!r} in row {column.index[row]} is none of "
            f"its levels, which are {', '.join(map(repr, levels))}"
        )
    return np.where(empty, np.nan, places)


def told(name: object, levels: Sequence[str]) -> str:
    """Tell what the numbers of a column stand for, in words."""
    first = ", ".join(f"{place} = {word}" for place, word in enumerate(levels[:MOST_TOLD]))
    return f"{name}: {first}" + (f" and {len(levels) - MOST_TOLD} more" if len(levels) > MOST_TOLD else "")
