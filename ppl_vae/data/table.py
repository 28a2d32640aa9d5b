"""A user's own table as a data set: .csv, .tsv and .parquet files of named columns.

Columns of numbers make x [N, D] as they are: neither scaled nor held to a range. Columns of text, and whatever else
stands beside x, are named by ``labels``, ``covariates`` or ``drop``; a category in words becomes the number of its
place in the order of the alphabet, which the notes tell.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl_vae.containers.table_file import read_frame
from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.split import SPLIT_NOTE, split_in_two
from ppl_vae.data.tensors import Arrays, ValueRange, check_bounds, to_split
from ppl_vae.errors import DataError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

# Categories, and columns of text, of which so many are told.
MOST_TOLD = 8


def load_table(
    path: str | os.PathLike[str],
    *,
    labels: str | None = None,
    covariates: str | Sequence[str] = (),
    drop: str | Sequence[str] = (),
    test: str | os.PathLike[str] | None = None,
    value_range: ValueRange = None,
) -> Dataset:
    """Load a table, split 90/10 unless its test rows are a file of their own.

    Args:
        path: the .csv, .tsv or .parquet file. An empty cell is a missing value, NaN in x.
        labels: the column that is y: whole numbers, or categories.
        covariates: the columns that programs take beside x by name: numbers, or categories.
        drop: columns that are left out.
        test: a file with the same columns, held out.
        value_range: bounds that every value must keep, or None.

    Raises:
        DataError: a file, a column's name or values that cannot be used.
    """
    check_bounds(value_range)
    path = Path(path)
    beside, left_out = names_given(covariates, "covariates"), names_given(drop, "drop")
    files = [path] if test is None else [path, Path(test)]
    with parser_boundary(path, "a table of named columns"):
        frames = [read_frame(file) for file in files]
        _require_alike(files, frames)
        if not all(map(len, frames)):
            raise DataError(f"{files[len(frames[0]) > 0]}: expected rows of numbers, found none")
        given = {"labels": [] if labels is None else [labels], "covariates": beside, "drop": left_out}
        columns = _columns(frames[0], given, path)
        coded, notes = coded_columns(frames, [*given["labels"], *beside], path)
        parts = [
            _split(frame[columns], {name: values[i] for name, values in coded.items()}, labels, file, value_range)
            for i, (frame, file) in enumerate(zip(frames, files, strict=True))
        ]
    notes += [f"left out: {', '.join(left_out)}"] if left_out else []
    missing = sum(int(part.x.isnan().sum()) for part in parts)
    notes += (
        [f"{missing} of {sum(part.x.numel() for part in parts)} cells are missing: NaN in x"] if missing else []
    )
    notes += [f"test rows from {files[1]}"] if test is not None else [SPLIT_NOTE]
    train, held_out = parts if test is not None else split_in_two(parts[0], path)
    return Dataset(
        path.name, train, held_out, source=f"file {path}", notes=tuple(notes), column_names=tuple(map(str, columns))
    )


def names_given(given: object, option: str) -> list[str]:
    """The names of columns that an option gives, one or a list.

    Raises:
        DataError: they are no names.
    """
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise DataError(f"{option}: expected the name of a column, or a list of names, found {given!r}")
    return names


def _require_alike(files: list[Path], frames: list[pd.DataFrame]) -> None:
    first, *others = [[str(name) for name in frame.columns] for frame in frames]
    for file, names in zip(files[1:], others, strict=True):
        if names != first:
            other = next((a, b) for a, b in zip([*first, None], [*names, None], strict=False) if a != b)
            raise DataError(
                f"{file}: expected the columns of {files[0]}, found {other[1]!r} in the place of {other[0]!r}"
            )


def _columns(frame: pd.DataFrame, given: dict[str, list[str]], path: Path) -> list[Any]:
    """The columns of x: all that are not given otherwise, and numbers every one."""
    seen: dict[str, str] = {}
    for option, names in given.items():
        for name in names:
            if name not in frame:
                raise DataError(f"{path}: {option}: {unknown_name('column', name, map(str, frame.columns))}")
            if name in seen:
                raise DataError(f"{path}: column {name!r} is named twice, by {seen[name]} and by {option}")
            seen[name] = option
    columns = [name for name in frame.columns if name not in seen]
    words = [name for name in columns if not _is_number(frame[name])]
    if words:
        told = ", ".join(f"{str(name)!r} (such as {_example(frame[name])!r})" for name in words[:MOST_TOLD])
        more = f" and {len(words) - MOST_TOLD} more" if len(words) > MOST_TOLD else ""
        raise DataError(
            f"{path}: expected columns of numbers, found others in {told}{more}; name each by labels=, covariates= "
            "or drop= (in a shell: --data-option drop=NAME)"
        )
    if not columns:
        raise DataError(f"{path}: no column is left for x")
    return columns


def _is_number(column: pd.Series[Any]) -> bool:
    from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

    return (is_numeric_dtype(column) or is_bool_dtype(column)) and not is_complex_dtype(column)


def _example(column: pd.Series[Any]) -> str:
    seen = column.dropna()
    return str(seen.iloc[0])[:40] if len(seen) else "nothing"


def coded_columns(
    frames: list[pd.DataFrame], names: list[str], path: Path
) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """The columns beside x as numbers, of every file, and what the numbers of categories stand for.

    Raises:
        DataError: a cell is empty.
    """
    import pandas as pd

    found: dict[str, list[np.ndarray]] = {}
    notes = []
    for name in names:
        columns = [frame[name] for frame in frames]
        missing = sum(int(column.isna().sum()) for column in columns)
        if missing:
            raise DataError(
                f"{path}: column {name!r}: {missing} cells are empty, and what stands beside x may not be"
            )
        if all(map(_is_number, columns)):
            found[name] = [column.to_numpy() for column in columns]
            continue
        kinds = sorted({str(value) for column in columns for value in column})
        found[name] = [np.asarray(pd.Categorical(column.astype(str), kinds).codes, np.int64) for column in columns]
        told = ", ".join(f"{i} = {kind}" for i, kind in enumerate(kinds[:MOST_TOLD]))
        notes.append(f"{name}: {told}" + (f" and {len(kinds) - MOST_TOLD} more" if len(kinds) > MOST_TOLD else ""))
    return found, notes


def _split(
    frame: pd.DataFrame, beside: dict[str, np.ndarray], labels: str | None, path: Path, value_range: ValueRange
) -> Split:
    """One file as a split: x with NaN where a cell is empty, and what stands beside it."""
    x = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.argwhere(np.isinf(x))
    if len(infinite):
        row, column = infinite[0]
        raise DataError(
            f"{path}: an infinite value in row {frame.index[row]}, column {str(frame.columns[column])!r}"
        )
    missing = np.isnan(x)
    if missing.all():
        raise DataError(f"{path}: expected rows of numbers, found none")
    y = None if labels is None else beside[labels]
    covariates = {name: values for name, values in beside.items() if name != labels}
    filled = np.where(missing, x[~missing][0], x)
    arrays = Arrays(filled, y, missing=missing if missing.any() else None, covariates=covariates)
    return replace(to_split(arrays, path, value_range), names=np.asarray(frame.index))
