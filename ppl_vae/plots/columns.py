"""The columns of a table as figures take them: their numbers, their names, and the bins of a histogram.

NaN is a missing cell. It is in no figure, and every panel says how many its column has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.plots.arrays import Array, to_numpy

Table = Array | pd.DataFrame
MOST_COUNTED = 40
FEWEST_BINS, MOST_BINS = 8, 40


def as_table(
    what: str, x: Table, num_columns: int | None = None, beside: Table | None = None
) -> NDArray[np.float64]:
    """Convert a table to numbers [N, D]; replicates [R, N, D] are laid one under the other.

    Categories are numbered from 0, in the order of their levels.

    Args:
        what: the name of the argument, for the message.
        x: the numbers.
        num_columns: D of the table that this one is drawn beside.
        beside: that table. Of two frames the columns are matched by name; categories must have the same levels.

    Raises:
        DataError: x is no table, has other columns, or holds infinite numbers.
    """
    numbers = _codes(what, _in_order(what, x, beside), beside) if isinstance(x, pd.DataFrame) else x
    try:
        if isinstance(numbers, pd.DataFrame):
            plain = numbers.to_numpy(np.float64, na_value=np.nan)
        else:
            plain = to_numpy(numbers)
        values = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{what}: expected a table of numbers [N, D], found {type(x).__name__} of others; "
            "text is drawn as a category, frame.astype({'name': 'category'})"
        ) from None
    if values.ndim == 3 and num_columns is not None:
        values = values.reshape(-1, values.shape[-1])
    if values.ndim != 2 or 0 in values.shape:
        advice = ": images are drawn by plot_samples and plot_reconstructions" if values.ndim > 2 else ""
        raise DataError(f"{what}: expected a table [N, D], none of them 0, found shape {values.shape}{advice}")
    if num_columns is not None and values.shape[1] != num_columns:
        raise DataError(f"{what}: expected the {num_columns} columns of x, found {values.shape[1]}")
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise DataError(f"{what}: {infinite} of {values.size} numbers are infinite")
    return values


def _in_order(what: str, x: pd.DataFrame, beside: Table | None) -> pd.DataFrame:
    """A frame in the order of the columns of the one beside it, where both have names."""
    if not isinstance(beside, pd.DataFrame) or isinstance(x.columns, pd.RangeIndex):
        return x
    other = [name for name in x.columns if name not in beside.columns]
    if len(x.columns) == len(beside.columns) and not other:
        return x[list(beside.columns)]
    if isinstance(beside.columns, pd.RangeIndex) or len(x.columns) != len(beside.columns):
        return x
    raise DataError(
        f"{what}: column {other[0]!r} is none of the table beside it: {', '.join(map(str, beside.columns))}"
    )


def _codes(what: str, x: pd.DataFrame, beside: Table | None) -> pd.DataFrame:
    """A frame whose categories are codes, NaN where one is missing."""
    columns = []
    for name in x.columns:
        column = x[name]
        if not isinstance(column.dtype, pd.CategoricalDtype):
            columns.append(column)
            continue
        other = beside[name] if isinstance(beside, pd.DataFrame) and name in beside else column
        levels = list(column.cat.categories)
        if not isinstance(other.dtype, pd.CategoricalDtype) or list(other.cat.categories) != levels:
            raise DataError(f"{what}: column {name!r} has the levels {levels}, unlike the table beside it")
        columns.append(column.cat.codes.astype(float).where(column.notna()))
    return pd.concat(columns, axis=1)


def column_names(names: Sequence[str] | None, x: Table, num_columns: int) -> list[str]:
    """Name the columns: as told, as a data frame has them, else x1 to xD.

    Raises:
        DataError: there are more or fewer names than columns.
    """
    if names is None:
        own = [str(name) for name in x.columns] if isinstance(x, pd.DataFrame) else []
        return own or [f"x{index + 1}" for index in range(num_columns)]
    if isinstance(names, str) or len(names) != num_columns:
        raise DataError(f"names: expected {num_columns}, one for each column, found {names!r}")
    return [str(name) for name in names]


def level_words(x: Table, index: int) -> list[str]:
    """The words that stand for the numbers 0, 1, ... of a column, where it is a category; empty for numbers."""
    column = x.iloc[:, index] if isinstance(x, pd.DataFrame) else None
    if column is None or not isinstance(column.dtype, pd.CategoricalDtype):
        return []
    return [str(level) for level in column.cat.categories]


def name_levels(axis: Axis, words: Sequence[str], most: int = 4) -> None:
    """Write the words of a category at its numbers, at equal steps where there are more than ``most``."""
    if words:
        places = range(0, len(words), -(-len(words) // most))
        axis.set_ticks(places, [short(words[place], 8) for place in places])


def short(name: str, most: int = 24) -> str:
    """Cut the middle out of a name that is too long for its panel.

    >>> short("od280/od315_of_diluted_wines")
    'od280/od315_…luted_wines'
    """
    half = most // 2
    return name if len(name) <= most else f"{name[:half]}…{name[1 + half - most :]}"


def observed(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop missing cells."""
    return column[~np.isnan(column)]


def missing_words(number: int) -> str:
    """Say how many cells are missing, if any.

    >>> missing_words(3), missing_words(0)
    ('3 missing', '')
    """
    return f"{number} missing" if number else ""


def edges_of(values: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Choose the bins of a column, which hold all of its values, and count those of others that lie beyond.

    Whole numbers have bins of whole numbers, one each where there is room. All other bins have the width of
    Freedman and Diaconis (1981).

    Args:
        values: of the data [N].
        others: of the replicates [M]; beyond the bins is what lies farther from the data than the data reach.
    """
    low, high = values.min(), values.max()
    if len(others):
        # A heavy tail of the replicates would press the data into one bin.
        reach = high - low or max(1.0, abs(high))
        low, high = min(low, max(others.min(), low - reach)), max(high, min(others.max(), high + reach))
    if counted(values):
        low, high = np.floor(low), np.ceil(high)
        span = high - low + 1
        step = 1.0 if span <= MOST_COUNTED else np.ceil(span / _number_of_bins(values, span))
        edges = low - 0.5 + step * np.arange(np.ceil(span / step) + 1)
    elif high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        edges = low + max(1.0, abs(low)) * np.linspace(-0.5, 0.5, FEWEST_BINS + 1)
    else:
        edges = np.linspace(low, high, _number_of_bins(values, high - low) + 1)
    return edges, int(((others < edges[0]) | (others > edges[-1])).sum())


def _number_of_bins(values: NDArray[np.float64], span: float) -> int:
    quartiles = np.quantile(values, [0.25, 0.75])
    width = 2 * (quartiles[1] - quartiles[0]) * len(values) ** (-1 / 3)
    return int(np.clip(np.ceil(span / width), FEWEST_BINS, MOST_BINS)) if width > 0 else MOST_BINS


def counted(values: NDArray[np.float64]) -> bool:
    """Tell whether a column is made of whole numbers."""
    return bool((values == np.round(values)).all())
