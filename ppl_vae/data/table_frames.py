"""The files of one table as frames whose columns are alike, and as one frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppl_vae.containers.table_file import read_frame
from ppl_vae.data.column_levels import Levels, LevelsGiven, checked_levels, codes_of, is_number
from ppl_vae.errors import DataError, unknown_name

if TYPE_CHECKING:
    import pandas as pd


def read_alike(files: Sequence[Path], known: Levels) -> list[pd.DataFrame]:
    """All files; a column that is words in any of them, or whose levels are known, is read as words in all.

    Raises:
        DataError: a file cannot be read, has other columns than the first, or lacks one whose levels are known.
    """
    frames = [_read(file, known, known) for file in files]
    _require_alike(files, frames)
    if words := _partly_words(frames, known):
        frames = [_read(file, [*known, *words], known) for file in files]
    for name in known:
        if name not in frames[0]:
            raise DataError(f"{files[0]}: levels: {unknown_name('column', name, map(str, frames[0].columns))}")
    return frames


def table_frame(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    *,
    test: str | os.PathLike[str] | None = None,
    levels: LevelsGiven = None,
) -> pd.DataFrame:
    """The rows of a table and of its test file as one frame; columns whose levels are given are categories.

    Args:
        path: as of ``load_table``.
        columns: those of the frame, in order.
        test: as of ``load_table``.
        levels: as of ``load_table``.

    Raises:
        DataError: a file cannot be used, or a word is none of the levels.
    """
    import pandas as pd

    known = checked_levels(levels)
    files = [Path(path)] if test is None else [Path(path), Path(test)]
    frames = read_alike(files, known)
    whole = pd.concat(frames, ignore_index=True)
    for name in known.keys() & set(columns):
        parts = [codes_of(frame[name], known[name], file) for frame, file in zip(frames, files, strict=True)]
        places = np.nan_to_num(np.concatenate(parts), nan=-1).astype(np.int64)
        dtype = whole[name].dtype
        ordered = isinstance(dtype, pd.CategoricalDtype) and bool(dtype.ordered)
        whole[name] = pd.Categorical.from_codes(places, pd.Index(known[name]), ordered=ordered)
    return whole[list(columns)]


def _read(file: Path, words: Iterable[str], known: Levels) -> pd.DataFrame:
    frame = read_frame(file, words, known)
    return frame.set_axis(frame.columns.map(str), axis=1)


def _require_alike(files: Sequence[Path], frames: Sequence[pd.DataFrame]) -> None:
    first, *others = [[str(name) for name in frame.columns] for frame in frames]
    for file, names in zip(files[1:], others, strict=True):
        if names != first:
            other = next((a, b) for a, b in zip([*first, None], [*names, None], strict=False) if a != b)
            raise DataError(
                f"{file}: expected the columns of {files[0]}, found {other[1]!r} in the place of {other[0]!r}"
            )


def _partly_words(frames: Sequence[pd.DataFrame], known: Iterable[str]) -> list[str]:
    """The columns that are words in one file and numbers in another, where '01' would have become 1."""
    if len(frames) < 2:
        return []
    found = {
        str(name): [is_number(frame.iloc[:, place]) for frame in frames]
        for place, name in enumerate(frames[0].columns)
    }
    return [name for name, numbers in found.items() if name not in known and any(numbers) and not all(numbers)]
