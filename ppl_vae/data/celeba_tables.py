"""The two tables of CelebA: the attributes of each image, and the split it belongs to.

The authors' are text, with spaces between the fields; Kaggle's are CSV files whose first line has the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.errors import DataError

_PRESENCE = {"-1": 0, "1": 1}
_PARTS = {"0": 0, "1": 1, "2": 2}
_IMAGE_COLUMN = "image_id"


@dataclass(frozen=True)
class Attributes:
    """The attribute table.

    Attributes:
        names: the attributes, F of them.
        files: the images' file names, N of them, each once.
        values: uint8 [N, F], 1 where the attribute is present.
    """

    names: tuple[str, ...]
    files: list[str]
    values: np.ndarray


def read_attributes(path: str | Path) -> Attributes:
    """Read ``list_attr_celeba.txt``: the count, the names, and a row of -1 and 1 for each image; or the .csv.

    Raises:
        DataError: the file is missing, or a line of it is not as it should be; the message has its number.
    """
    path = Path(path)
    lines = _lines(path)
    if _is_csv(path):
        first, *names_found = lines[0].split(",")
        # As the authors' table has it, so that one rule judges both; a line's number is then one too many.
        lines = [str(len(lines) - 1), " ".join(names_found), *(line.replace(",", " ") for line in lines[1:])]
        if first != _IMAGE_COLUMN:
            raise DataError(f"{path}: line 1: expected {_IMAGE_COLUMN!r} and the attributes, found {first[:80]!r}")
    if len(lines) < 3:
        raise DataError(f"{path}: expected a count, a line of names and rows, found {len(lines)} lines")
    names = tuple(lines[1].split())
    if len(set(names)) != len(names) or not names:
        raise DataError(f"{path}: line 2: expected the attributes' names, each once, found {lines[1][:80]!r}")
    rows = [_row(path, number, line, len(names), _PRESENCE) for number, line in enumerate(lines[2:], start=3)]
    if lines[0].strip() != str(len(rows)):
        raise DataError(f"{path}: line 1: expected the count of rows, {len(rows)}, found {lines[0][:80]!r}")
    files = [file for file, _ in rows]
    _check_unique(path, files)
    return Attributes(names, files, np.array([values for _, values in rows], np.uint8))


def read_partition(path: str | Path, files: Sequence[str]) -> np.ndarray:
    """Read ``list_eval_partition.txt``, or the .csv.

    Args:
        path: the file.
        files: the images in the order wanted.

    Returns:
        int64 [N] of 0 (training), 1 (validation) and 2 (test).

    Raises:
        DataError: the file cannot be read, a line is malformed, or its images are not those of ``files``.
    """
    path = Path(path)
    lines = _lines(path)
    if _is_csv(path):
        lines = [line.replace(",", " ") for line in lines[1:]]
    rows = [_row(path, number, line, 1, _PARTS) for number, line in enumerate(lines, start=1)]
    _check_unique(path, [file for file, _ in rows])
    if len(rows) != len(files):
        raise DataError(f"{path}: expected {len(files)} rows, as many as images with attributes, found {len(rows)}")
    part = {file: values[0] for file, values in rows}
    missing = [file for file in files if file not in part]
    if missing:
        raise DataError(f"{path}: expected a row for each image with attributes, found none for {missing[0]}")
    return np.array([part[file] for file in files])


def _lines(path: Path) -> list[str]:
    with parser_boundary(path, "a table of CelebA"):
        return path.read_text(encoding="utf-8").rstrip().split("\n")


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _row(path: Path, number: int, line: str, width: int, codes: dict[str, int]) -> tuple[str, list[int]]:
    file, *values = line.split() or [""]
    if len(values) != width or any(value not in codes for value in values):
        expected = f"a file name and {width} of {', '.join(codes)}"
        raise DataError(f"{path}: line {number}: expected {expected}, found {line[:80]!r}")
    return file, [codes[value] for value in values]


def _check_unique(path: Path, files: list[str]) -> None:
    seen: set[str] = set()
    for file in files:
        if file in seen:
            raise DataError(f"{path}: expected each image once, found {file} twice")
        seen.add(file)
