"""The words of a table's categories: whether a model knows any, and data and decoded rows with these words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.inference.pair.protocols import Program, traits

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class OfColumns(Protocol):
    """A distribution of rows whose columns are in blocks, each of one kind."""

    blocks: Sequence[object]


@dataclass(frozen=True)
class Worded:
    """The optional attributes of a model's table.

    Attributes:
        column_levels: by column the words of its levels in the order of their numbers.
        central: the means of the columns of p(x|z), and of those with words the most likely level.
    """

    column_levels: Mapping[str, tuple[str, ...]] | None = None
    central: Callable[[OfColumns], Tensor] | None = None


def levels_of(model: Program) -> Mapping[str, tuple[str, ...]]:
    """The words of a table's levels by column, in the order of their numbers; empty where the model knows none."""
    return declared(Worded, traits(model).table).column_levels or {}


def words_by_place(model: Program) -> list[tuple[str, ...]]:
    """The words of every column of a table, in their order; empty of numbers, and where the model knows none."""
    table, levels = traits(model).table, levels_of(model)
    return [] if table is None or not levels else [levels.get(name, ()) for name in table.column_names]


def in_words(model: Program, x: Tensor) -> Tensor | pd.DataFrame:
    """Data as figures take them: rows [N, D] of a model that knows words as a frame, others as they are."""
    table = traits(model).table
    if table is None or x.dim() != 2 or not levels_of(model):
        return x
    found: pd.DataFrame = table.frame(x)
    return found


def most_likely(model: Program, decode: Callable[[], Tensor]) -> Tensor:
    """The means of p(x|z) that ``decode`` gives, where columns with words have their most likely level."""
    table = traits(model).table
    if not isinstance(table, nn.Module) or not levels_of(model):
        return decode()
    given: list[dist.TorchDistribution] = []
    watch = table.register_forward_hook(lambda module, arguments, p: given.append(p))
    try:
        means = decode()
    finally:
        watch.remove()
    return central_of(model, given[-1]) if given else means


def central_of(model: Program, p: dist.TorchDistribution) -> Tensor:
    """The mean of p(x|z), where columns with words have their most likely level, as names have no mean."""
    central = declared(Worded, traits(model).table).central
    mean: Tensor = p.mean if central is None or not isinstance(p, OfColumns) else central(p)
    return mean
