"""A matrix of cells and genes as a data set: .h5ad files, read by ``containers.annotated``.

X becomes x [N, D], dense, and columns of obs are named by ``labels`` and ``covariates``. Where the dense matrix is
too large for memory, ``fit`` and the other functions take the file by its path, or an AnnData object, and make
batches dense one by one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ppl_vae.containers.annotated import read_h5ad
from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.column_levels import checked_levels, told
from ppl_vae.data.dataset import Dataset
from ppl_vae.data.split import SPLIT_NOTE, split_in_two
from ppl_vae.data.table import coded_columns, names_given
from ppl_vae.data.tensors import Arrays, ValueRange, check_bounds, to_split
from ppl_vae.errors import DataError, unknown_name


def load_annotated(
    path: str | os.PathLike[str],
    *,
    labels: str | None = None,
    covariates: str | Sequence[str] = (),
    value_range: ValueRange = None,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """Load an .h5ad file, split 90/10 under a fixed seed.

    Args:
        path: the file.
        labels: the column of obs that is y: whole numbers, or categories.
        covariates: columns of obs that programs take beside x by name, such as a batch or a depth: numbers, or
            categories.
        value_range: bounds that every value must keep, or None.
        levels: by column of obs the categories in the order of their numbers; of others it is that of the alphabet.

    Raises:
        DataError: the file, a column's name or values cannot be used.
    """
    import pandas as pd

    check_bounds(value_range)
    path, beside, known = Path(path), names_given(covariates, "covariates"), checked_levels(levels)
    wanted = [*([] if labels is None else [labels]), *beside]
    with parser_boundary(path, "an .h5ad file"):
        matrix, obs, rows, columns = read_h5ad(path)
        for option, names in (("labels", wanted[: len(wanted) - len(beside)]), ("covariates", beside)):
            for name in names:
                if name not in obs:
                    raise DataError(f"{path}: {option}: {unknown_name('column of obs', name, obs)}")
        for name in known:
            if name not in wanted:
                raise DataError(f"{path}: levels: {unknown_name('label or covariate', name, wanted)}")
        # Text in obs are names, of categories for the most part.
        frame = pd.DataFrame({name: pd.Series(obs[name], dtype=_kind(obs[name])) for name in wanted})
        coded, found_levels = coded_columns([frame], wanted, [path], known)
        found = {name: values[0] for name, values in coded.items()}
        y = None if labels is None else found[labels]
        dense = matrix if isinstance(matrix, np.ndarray) else matrix[:].numpy()
        arrays = Arrays(dense, y, covariates={name: found[name] for name in beside})
        whole = replace(to_split(arrays, path, value_range), names=rows)
    train, test = split_in_two(whole, path)
    notes = (*(told(name, words) for name, words in found_levels.items()), SPLIT_NOTE)
    return Dataset(
        path.name, train, test, source=f"file {path}", notes=notes,
        column_names=tuple(map(str, columns)), column_levels=found_levels,
    )  # fmt: skip


def _kind(column: object) -> str | None:
    return "category" if isinstance(column, np.ndarray) and column.dtype.kind == "O" else None
