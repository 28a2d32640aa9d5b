"""Tables with named columns on the command line: the kinds of ``--likelihood columns``, and raw columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ppl_vae import models
from ppl_vae.cli.source import DataSource
from ppl_vae.data.column_levels import AUTO
from ppl_vae.errors import DataError, ModelError

if TYPE_CHECKING:
    from rich.console import Console

    from ppl_vae.data import Dataset
    from ppl_vae.models import VAE

NAME = "columns"


def asks_for_kinds(options: Mapping[str, object]) -> bool:
    """Tell whether ``--likelihood columns`` was given without the kinds of its columns."""
    given = _likelihood(options)
    return given.get("name") == NAME and "kinds" not in given


def taking_words(source: DataSource, options: Mapping[str, object]) -> DataSource:
    """The source, whose columns of words are levels where every column is taken by its kind."""
    if not asks_for_kinds(options) or not source.is_table or "levels" in source.options:
        return source
    return replace(source, options={**source.options, "levels": AUTO})


def with_kinds(
    options: Mapping[str, object], source: DataSource, dataset: Dataset, console: Console
) -> dict[str, object]:
    """The options with the kind of every column, where ``--likelihood columns`` names none; the choice is printed.

    The kinds are those of the frame that the file holds, all of its rows: single precision and the split would hide
    what is whole, 0 and 1, or ordered.

    Raises:
        ModelError: the data are no table with named columns.
    """
    if not asks_for_kinds(options):
        return dict(options)
    if not dataset.column_names:
        raise ModelError(f"--likelihood {NAME}: the data are no table with names of columns, as a .csv file is")
    import pandas as pd

    columns = list(dataset.column_names)
    kinds = models.Columns.from_frame(
        source.frame(columns) if source.is_table else pd.DataFrame(dataset.train.x.numpy(), columns=columns),
        bool(_likelihood(options).get("standardize", True)),
        lambda line: console.print(line, soft_wrap=True, highlight=False),
    )
    return {**options, "likelihood": kinds.config}


def _likelihood(options: Mapping[str, object]) -> Mapping[str, object]:
    asked = options.get("likelihood")
    return asked if isinstance(asked, Mapping) else {"name": asked}


def require_unit_columns(dataset: Dataset, vae: VAE) -> None:
    """Refuse real columns under a Bernoulli, which nobody may have asked for: it is what images are given.

    Raises:
        DataError: a column has values outside of [0, 1]; it is named.
    """
    x = dataset.train.x
    if not dataset.column_names or not isinstance(vae.model.likelihood, models.BernoulliLikelihood):
        return
    outside = ((x < 0) | (x > 1)).nonzero()
    if len(outside):
        row, column = outside[0].tolist()
        raise DataError(
            f"column {dataset.column_names[column]!r} has values such as {x[row, column]:.4g}, and likelihood "
            f"bernoulli is of values in [0, 1]: --likelihood {NAME} takes every column by its kind"
        )


def raw_columns_note(dataset: Dataset, vae: VAE) -> str:
    """A line where columns are so large that a network would learn little from them as they are; else nothing."""
    from ppl_vae.inference.training.data_scale import LARGE

    x = dataset.train.x
    if not dataset.column_names or vae.model.likelihood.name == NAME or vae.model.likelihood.encoder_sees != "x":
        return ""
    most = x.nan_to_num(0.0).abs().amax(0)
    largest = int(most.argmax())
    if most[largest] <= LARGE:
        return ""
    return (
        f"columns as large as {dataset.column_names[largest]!r}, {most[largest]:.3g}, teach a network little: "
        f"--likelihood {NAME} takes every column in its own units, by its own kind"
    )
