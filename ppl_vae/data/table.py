"""A user's own table as a data set: .csv, .tsv and .parquet files of named columns.

Columns of numbers make x [N, D] as they are: neither scaled nor held to a range. Columns of words are in x where
``levels`` says so, as the numbers of their levels (``column_levels``); whatever stands beside x is named by
``labels``, ``covariates`` or ``drop``, and a category in words becomes such a number too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppl_vae.containers import Labels
from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.column_levels import (
    AUTO,
    MOST_TOLD,
    Column,
    Levels,
    LevelsGiven,
    checked_levels,
    codes_of,
    is_number,
    levels_beside,
    levels_of,
    told,
)
from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.split import SPLIT_NOTE, split_in_two
from ppl_vae.data.table_frames import read_alike
from ppl_vae.data.tensors import Arrays, ValueRange, check_bounds, to_split
from ppl_vae.errors import DataError, unknown_name

if TYPE_CHECKING:
    import pandas as pd


def load_table(
    path: str | os.PathLike[str],
    *,
    labels: str | None = None,
    covariates: str | Sequence[str] = (),
    drop: str | Sequence[str] = (),
    test: str | os.PathLike[str] | None = None,
    value_range: ValueRange = None,
    levels: LevelsGiven = None,
) -> Dataset:
    """Load a table, split 90/10 unless its test rows are a file of their own.

    Args:
        path: the .csv, .tsv or .parquet file. An empty cell is a missing value, NaN in x.
        labels: the column that is y: whole numbers, or categories.
        covariates: the columns that programs take beside x by name: numbers, or categories.
        drop: columns that are left out.
        test: a file with the same columns, held out.
        value_range: bounds that every value must keep, or None.
        levels: of columns of words, which become the numbers of their levels: "auto" takes those of x too, their
            levels in the order of the alphabet or of a categorical dtype; a mapping has the levels by column, of
            ``labels`` and ``covariates`` as well, in their order. None refuses words in x.
            ``Dataset.column_levels`` has what was taken; a further file for the same model is read by it.

    Raises:
        DataError: a file, a column's name or values that cannot be used, or a word that is none of the levels.
    """
    check_bounds(value_range)
    path, known = Path(path), checked_levels(levels)
    beside, left_out = names_given(covariates, "covariates"), names_given(drop, "drop")
    files = [path] if test is None else [path, Path(test)]
    with parser_boundary(path, "a table of named columns"):
        frames = read_alike(files, known)
        if not all(map(len, frames)):
            raise DataError(f"{files[len(frames[0]) > 0]}: expected rows of numbers, found none")
        given = {"labels": [] if labels is None else [labels], "covariates": beside, "drop": left_out}
        columns = _columns(frames[0], given, path)
        coded, beside_levels = coded_columns(frames, [*given["labels"], *beside], files, known)
        x_levels = _levels_in_x(frames, columns, known, levels == AUTO, path)
        parts = [
            _split(
                _as_numbers(frame[columns], x_levels, file),
                {name: values[i] for name, values in coded.items()}, labels, file, value_range,
            )
            for i, (frame, file) in enumerate(zip(frames, files, strict=True))
        ]  # fmt: skip
    found = {**beside_levels, **x_levels}
    notes = _notes(found, left_out, parts, SPLIT_NOTE if test is None else f"test rows from {files[1]}")
    train, held_out = parts if test is not None else split_in_two(parts[0], path)
    return Dataset(
        path.name, train, held_out, source=f"file {path}", notes=notes,
        column_names=tuple(map(str, columns)), column_levels=found,
    )  # fmt: skip


def _notes(levels: Levels, left_out: Sequence[str], parts: Sequence[Split], split: str) -> tuple[str, ...]:
    """Note what a reader of the numbers must know: words, columns and cells that are not there, and the split."""
    missing, cells = (
        sum(each) for each in zip(*((int(p.x.isnan().sum()), p.x.numel()) for p in parts), strict=True)
    )
    return (
        *(told(name, words) for name, words in levels.items()),
        *([f"left out: {', '.join(left_out)}"] if left_out else []),
        *([f"{missing} of {cells} cells are missing: NaN in x"] if missing else []),
        split,
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


def _columns(frame: pd.DataFrame, given: dict[str, list[str]], path: Path) -> list[str]:
    """The columns of x: all that are not given otherwise."""
    seen: dict[str, str] = {}
    for option, names in given.items():
        for name in names:
            if name not in frame:
                raise DataError(f"{path}: {option}: {unknown_name('column', name, map(str, frame.columns))}")
            if name in seen:
                raise DataError(f"{path}: column {name!r} is named twice, by {seen[name]} and by {option}")
            seen[name] = option
    columns = [name for name in frame.columns if name not in seen]
    if not columns:
        raise DataError(f"{path}: no column is left for x")
    return columns


def _levels_in_x(
    frames: Sequence[pd.DataFrame], columns: Sequence[str], known: Levels, every: bool, path: Path
) -> dict[str, tuple[str, ...]]:
    """The levels of the columns of x that are words: the known ones and, where ``every`` is true, all others."""
    found, refused = {}, []
    for name in columns:
        if str(name) in known:
            found[str(name)] = known[str(name)]
        elif not all(is_number(frame[name]) for frame in frames):
            words = levels_of([frame[name] for frame in frames], path) if every else None
            if words is None:
                refused.append(name)
            else:
                found[str(name)] = words
    if refused:
        raise DataError(f"{path}: {_refusal(frames[0], refused, every)}")
    return found


def _refusal(frame: pd.DataFrame, columns: Sequence[str], every: bool) -> str:
    examples = ", ".join(f"{str(name)!r} (such as {_example(frame[name])!r})" for name in columns[:MOST_TOLD])
    more = f" and {len(columns) - MOST_TOLD} more" if len(columns) > MOST_TOLD else ""
    remedy = "name each by labels=, covariates= or drop= (in a shell: --data-option drop=NAME)"
    if every:
        return f"expected columns of numbers or of words, found others in {examples}{more}; {remedy}"
    return (
        f"expected columns of numbers, found others in {examples}{more}; {remedy}, or take words as numbers by "
        "levels='auto' (--data-option levels=auto; --likelihood columns does so) or lists of the words by column"
    )


def _as_numbers(frame: pd.DataFrame, levels: Levels, path: Path) -> pd.DataFrame:
    frame = frame.copy(deep=False)
    for name in frame.columns:
        if str(name) in levels:
            frame[name] = codes_of(frame[name], levels[str(name)], path)
    return frame


def _example(column: Column) -> str:
    seen = column.dropna()
    return str(seen.iloc[0])[:40] if len(seen) else "nothing"


def coded_columns(
    frames: Sequence[pd.DataFrame], names: Sequence[str], files: Sequence[Path], known: Levels
) -> tuple[dict[str, list[np.ndarray]], dict[str, tuple[str, ...]]]:
    """The columns beside x as numbers, of every file, and the levels of those that are words.

    Raises:
        DataError: a cell is empty, or a word is none of the known levels of its column.
    """
    found: dict[str, list[np.ndarray]] = {}
    levels: dict[str, tuple[str, ...]] = {}
    for name in names:
        columns = [frame[name] for frame in frames]
        missing = sum(int(column.isna().sum()) for column in columns)
        if missing:
            raise DataError(
                f"{files[0]}: column {name!r}: {missing} cells are empty, and what stands beside x may not be"
            )
        if name not in known and all(map(is_number, columns)):
            found[name] = [column.to_numpy() for column in columns]
            continue
        levels[name] = known.get(name) or levels_beside(columns, files[0])
        found[name] = [
            codes_of(column, levels[name], file).astype(np.int64)
            for column, file in zip(columns, files, strict=True)
        ]
    return found, levels


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
    rows = np.asarray(frame.index)
    named = Labels(rows, (np.array([str(name) for name in frame.columns]),), columns=True)
    return replace(to_split(arrays, path, value_range, labels=named), names=rows)
