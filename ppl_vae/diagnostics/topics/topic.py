"""A topic of a diagnosis: one row that says how it is run, judged, explained, drawn and tabled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import xarray as xr
from torch import Tensor

from ppl_vae.diagnostics.topics.case import Case, Effort
from ppl_vae.diagnostics.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Diagnosed(Protocol):
    """The data of a diagnosis, which figures and tables need beside the numbers."""

    @property
    def x(self) -> Tensor:
        """The diagnosed data [n, *event_shape]."""

    @property
    def rows(self) -> Tensor | pd.DataFrame:
        """The same, with words for categories where the model knows any."""

    @property
    def y(self) -> np.ndarray | None:
        """The labels of the data [n], or None."""

    @property
    def covariates(self) -> Mapping[str, np.ndarray]:
        """The covariates that the programs took beside the data, by name, each [n, ...]."""

    @property
    def column_names(self) -> list[str] | None:
        """The names of the columns of a table, where they are known."""

    @property
    def effort(self) -> Effort:
        """The numbers of draws."""


@dataclass(frozen=True)
class Explanation:
    """The words beside a topic's figures.

    Attributes:
        question: what it answers.
        method: how the numbers were had.
        shows: what a good or bad picture proves.
        cannot: what it does not.
    """

    question: str
    method: str
    shows: str
    cannot: str


@dataclass(frozen=True)
class Table:
    """A small table, every cell as text."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Topic:
    """One diagnostic: a row of ``TOPICS``.

    Attributes:
        title: its name for a reader.
        run: numbers of a case, by the run_ function of the topic.
        check: a verdict on the numbers, or several.
        explanation: the words beside its figures.
        figures: figures of the numbers with their captions; None where it has none.
        table: the numbers as a table; None where it has none.
        of_global: whether it asks about global sites, which few models have.
        on_demand: whether it is run where it is asked for by name alone.
    """

    title: str
    run: Callable[[Case], xr.Dataset]
    check: Callable[[xr.Dataset], Verdict | Sequence[Verdict]]
    explanation: Explanation
    figures: Callable[[xr.Dataset, Diagnosed], Iterable[tuple[Figure, str]]] | None
    table: Callable[[xr.Dataset, Diagnosed], Table] | None
    of_global: bool = False
    on_demand: bool = False

    def verdicts(self, numbers: xr.Dataset) -> tuple[Verdict, ...]:
        """Judge the numbers of ``run``: one verdict or more."""
        judged = self.check(numbers)
        return (judged,) if isinstance(judged, Verdict) else tuple(judged)
