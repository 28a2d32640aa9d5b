"""Tables in files: .csv, .tsv and .parquet as pandas frames, without a row or a column that is lost unseen.

A first column without a name, as pandas and R write the names of rows, names the rows. A first line of numbers is a
row and no names, unless they keep one distance from column to column, as years and wavelengths do. Cells that are
empty, or say NA or NaN, are missing values.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.errors import DataError, first_line
from ppl_vae.extras import imported

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".tsv", ".parquet")
# Fewer numbers in a line keep one distance by chance; a distance is the same up to its rounding.
LEAST_IN_ORDER, SAME_STEP = 3, 0.02
# What pandas takes for an empty cell.
EMPTY = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
}  # fmt: skip
UNNAMED = re.compile(r"Unnamed: 0(_level_0)?|")


def read_frame(
    path: Path, words: Iterable[str] = (), levels: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Read a table, whose index names its rows where the file does.

    Args:
        path: the file.
        words: columns that are read as words where the file is a text, also where all of them look like numbers.
        levels: by column its words, as far as they are known; "None" or "NA" among them is no empty cell.

    Raises:
        DataError: the file is missing, damaged, no such table, or needs a library that is not installed.
    """
    import pandas as pd

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".parquet":
            return decimals_as_floats(pd.read_parquet(path))
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        head = pd.read_csv(path, sep=separator, header=None, nrows=1)
        _require_names(head, path, separator)
        _require_whole_rows(path, separator)
        kinds, empty = dict.fromkeys(words, str), _empty_cells(path, separator, levels or {})
        frame = pd.read_csv(path, sep=separator, low_memory=False, dtype=kinds, **empty)
    except DataError:
        raise
    except ImportError as error:
        imported("pyarrow", f"{path}: reading parquet", "'ppl_vae[tables]'", DataError)
        raise DataError(f"{path}: {first_line(error)}") from None
    except (ValueError, OSError, OverflowError, MemoryError, csv.Error, Warning) as error:
        raise DataError(f"{path}: no table that can be read ({first_line(error)})") from None
    named = len(frame.columns) > 1 and UNNAMED.fullmatch(str(frame.columns[0]))
    return frame.set_index(frame.columns[0]).rename_axis(None) if named else frame


def _empty_cells(path: Path, separator: str, levels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """How pandas shall know empty cells: by its own words for them, of which levels are none."""
    import pandas as pd

    if not any(EMPTY & set(known) for known in levels.values()):
        return {}
    names = pd.read_csv(path, sep=separator, nrows=0).columns
    return {"keep_default_na": False, "na_values": {name: EMPTY - set(levels.get(name, ())) for name in names}}


def decimals_as_floats(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose columns of decimal numbers, as databases have them, are floats; other columns as they are."""
    exact = [place for place in range(frame.shape[1]) if _is_decimal(frame.iloc[:, place])]
    if not exact:
        return frame
    found = frame.copy(deep=False)
    for place in exact:
        found.isetitem(place, frame.iloc[:, place].to_numpy(dtype=np.float64, na_value=np.nan))
    return found


def _is_decimal(column: pd.Series[Any]) -> bool:
    if column.dtype != object and not str(column.dtype).startswith("decimal"):
        return False
    seen = column.dropna()
    return len(seen) > 0 and all(isinstance(value, Decimal) for value in seen)


def _require_names(head: pd.DataFrame, path: Path, separator: str) -> None:
    """Refuse a first line without the names of columns, and columns that another sign separates."""
    cells = head.iloc[0].tolist()
    if len(cells) == 1 and isinstance(cells[0], str) and ";" in cells[0]:
        raise DataError(
            f"{path}: its columns are separated by ';', expected {separator!r}; write it anew, or give the frame "
            "that pandas.read_csv(path, sep=';') reads (decimal=',' where numbers have commas)"
        )
    numbers = np.array([cell for cell in cells if not isinstance(cell, str)], np.float64)
    numbers = numbers[~np.isnan(numbers)]
    if len(numbers) and not _are_names(numbers, among=len(cells)):
        raise DataError(
            f"{path}: expected the names of its columns in the first line, found numbers ({numbers[0]:g}, ...); "
            "write a line of names above them, or give the frame that pandas.read_csv(path, header=None) reads"
        )


def _require_whole_rows(path: Path, separator: str) -> None:
    """Refuse a row with more cells than there are names, of which pandas makes an index, or with fewer."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter=separator)
        width = len(next(lines))
        for cells in lines:
            if cells and len(cells) != width:
                raise DataError(
                    f"{path}: the first line names {width} columns, found {len(cells)} cells in line "
                    f"{lines.line_num}"
                )


def _are_names(numbers: NDArray[np.float64], among: int) -> bool:
    """Tell names that are numbers, such as years and wavelengths, from a row: they keep one distance."""
    steps = np.diff(numbers)
    if (numbers == numbers.round()).all() and (steps == 1).all():
        return among > 1
    return len(numbers) >= LEAST_IN_ORDER and np.allclose(steps, steps.mean(), rtol=SAME_STEP) and steps.mean() != 0
