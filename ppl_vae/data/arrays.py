"""A user's own arrays as a data set: .npz, .npy and IDX files.

An .npz archive holds ``x`` (or a single array of any name), or ``x_train`` and ``x_test``; beside them may
stand ``y`` and ``factors``, with the same endings; or it is one of MedMNIST's (see ``npz_names``). Bytes
(uint8) are divided by 255, unless no value is above 1; other numbers must lie in [0, 1] already, or
``value_range=None`` takes them as they are. ``lengths`` and a ``mask``, with the same endings, say what of x was
observed (see ``ppl_vae.data.sequences``); the rest becomes NaN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.idx import read_idx
from ppl_vae.data.idx_names import labels_beside, upright
from ppl_vae.data.npy import read_npy
from ppl_vae.data.npz import npz_names
from ppl_vae.data.npz_names import read_parts
from ppl_vae.data.sequences import observed
from ppl_vae.data.split import SPLIT_NOTE, split_in_two
from ppl_vae.data.tensors import UNIT_RANGE, Arrays, ValueRange, channels_last, check_bounds, to_split, unit_divisor
from ppl_vae.errors import DataError


def load_npy(
    path: str | Path,
    *,
    value_range: ValueRange = UNIT_RANGE,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Dataset:
    """Load one array [N, ...] of data, split 90/10.

    Args:
        path: the .npy file.
        value_range: bounds that every value must keep, or None for real-valued data.
        lengths: how many frames of each sequence of [N, T, D] count, [N].
        mask: what was observed, [N, T] or of the data's shape.

    Raises:
        DataError: a file or values that cannot be used.
    """
    check_bounds(value_range)
    ends, seen = (None if part is None else np.asarray(part) for part in (lengths, mask))
    x, missing = observed(read_npy(path), ends, seen, path)
    return _dataset(Path(path), [Arrays(x, missing=missing)], value_range)


def load_idx(path: str | Path, *, value_range: ValueRange = UNIT_RANGE) -> Dataset:
    """Load one IDX file [N, ...] of data, plain or gzipped, split 90/10, with the labels beside it by name.

    Args:
        path: the IDX file.
        value_range: bounds that every value must keep, or None for real-valued data.

    Raises:
        DataError: a file or values that cannot be used.
    """
    check_bounds(value_range)
    path = Path(path)
    x, turned = upright(path, read_idx(path))
    labels, notes = labels_beside(path)
    return _dataset(path, [Arrays(x, labels)], value_range, (*turned, *notes))


def load_npz(path: str | Path, *, value_range: ValueRange = UNIT_RANGE) -> Dataset:
    """Load an archive with data and, where it has them, labels, factors and a test set; else split 90/10.

    Args:
        path: the .npz archive.
        value_range: bounds that every value must keep, or None for real-valued data.

    Raises:
        DataError: a file, names or values that cannot be used.
    """
    check_bounds(value_range)
    path = Path(path)
    parts, notes = read_parts(path, npz_names(path))
    return _dataset(path, parts, value_range, notes)


def _dataset(path: Path, parts: list[Arrays], value_range: ValueRange, notes: tuple[str, ...] = ()) -> Dataset:
    divisor = unit_divisor(parts, value_range)
    notes = (*notes, *_notes(parts, divisor))
    if any(part.missing is not None for part in parts):
        missing = sum(0 if part.missing is None else int(part.missing.sum()) for part in parts)
        notes = (*notes, f"{missing} of {sum(part.x.size for part in parts)} values are missing: NaN in x")
    if len(parts) == 2:
        train, test = (to_split(part, path, value_range, divisor) for part in parts)
        _check_alike(path, train, test)
    else:
        # Checked whole before it is split, so that an error's counts and indices are the file's own.
        train, test = split_in_two(to_split(parts[0], path, value_range, divisor), path)
        notes = (*notes, SPLIT_NOTE)
    factors = 0 if train.factors is None else train.factors.shape[1]
    names = tuple(f"factor_{i}" for i in range(factors))
    return Dataset(path.name, train, test, names, source=f"file {path}", notes=notes)


def _check_alike(path: Path, train: Split, test: Split) -> None:
    if train.x.shape[1:] != test.x.shape[1:]:
        found = f"{tuple(train.x.shape)} and {tuple(test.x.shape)}"
        raise DataError(f"{path}: expected x_train and x_test of the same event shape, found {found}")
    widths = [None if part.factors is None else part.factors.shape[1] for part in (train, test)]
    if widths[0] != widths[1]:
        raise DataError(f"{path}: expected as many factors in train as in test, found {widths[0]} and {widths[1]}")


def _notes(parts: list[Arrays], divisor: int) -> tuple[str, ...]:
    moved = ("the channels, last in the file, were moved to the front",) if channels_last(parts[0].x) else ()
    return (*moved, *_scale_notes(parts, divisor))


def _scale_notes(parts: list[Arrays], divisor: int) -> tuple[str, ...]:
    if divisor != 1:
        return (f"bytes divided by {divisor}",)
    if all(part.x.dtype == np.uint8 for part in parts):
        return ("bytes without a value above 1, taken as they are",)
    return ()
