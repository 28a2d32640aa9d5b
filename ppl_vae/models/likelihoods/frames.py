"""Frames of named columns of different kinds: which kinds they are, as numbers, and back again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.containers.pandas_frame import as_pandas
from ppl_vae.containers.words import require_words
from ppl_vae.errors import DataError
from ppl_vae.models.configuration import Config
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.levels import NominalLikelihood, OrdinalLikelihood, nominal, ordinal

if TYPE_CHECKING:
    import pandas as pd

# More names than this, each at a few rows, are no levels: addresses, identifiers.
MOST_LEVELS = 100
# Nats a cell by which a log-normal must be better than a Gaussian.
CLEAR_GAIN = 0.05
WHOLE = ("bernoulli", "poisson", "negative-binomial", "zero-inflated-poisson", "zero-inflated-negative-binomial")


@dataclass(frozen=True)
class Choice:
    """The kind that a column is taken for.

    Attributes:
        column: its name.
        kind: a likelihood's name or configuration.
        reason: why, in a few words.
    """

    column: str
    kind: str | Config
    reason: str


def kinds_of(frame: Any) -> list[Choice]:
    """The kinds of a frame's columns by their dtypes and values.

    Raises:
        DataError: it is no frame, or a column is of no kind that is known; it is named.
    """
    table = as_pandas(frame)
    return [_kind(str(name), table[name]) for name in table.columns]


def told(choices: Sequence[Choice]) -> Iterator[str]:
    """A line for each choice."""
    width = max(len(choice.column) for choice in choices)
    for choice in choices:
        kind = choice.kind if isinstance(choice.kind, str) else _in_words(choice.kind)
        yield f"{choice.column:<{width}}  {kind:<18} {choice.reason}"


def coded(frame: Any, names: Sequence[str], parts: Sequence[Likelihood]) -> Tensor:
    """The numbers in a frame, its columns in the order of ``names``: [N, D], NaN where a cell is missing.

    Raises:
        DataError: a column is missing or unknown, or holds what its likelihood has no number for.
    """
    table = as_pandas(frame)
    table.columns = table.columns.map(str)
    missing = [name for name in names if name not in table.columns]
    unknown = [name for name in table.columns if name not in names]
    if missing or unknown:
        which = f"no column {missing[0]!r}" if missing else f"column {unknown[0]!r}, which the model does not know"
        raise DataError(f"data: found {which}; its columns are {', '.join(map(repr, names))}")
    columns = [_codes(name, table[name], part) for name, part in zip(names, parts, strict=True)]
    return torch.stack(columns, -1)


def frame(x: Tensor, names: Sequence[str], parts: Sequence[Likelihood]) -> pd.DataFrame:
    """Data [N, D] as a frame: levels by their names, counts and codes as whole numbers."""
    import pandas as pd

    values = x.detach().cpu().double().numpy()
    return pd.DataFrame(
        {name: _column(values[:, i], part) for i, (name, part) in enumerate(zip(names, parts, strict=True))}
    )


def level_names(part: Likelihood) -> tuple[str, ...]:
    """The names of a likelihood's levels, empty where it has none."""
    return part.level_names if isinstance(part, OrdinalLikelihood | NominalLikelihood) else ()


def _kind(column: str, values: Any) -> Choice:
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        names = [str(level) for level in values.cat.categories]
        if len(names) < 2:
            raise DataError(f"column {column!r}: a category with {len(names)} level; leave it out")
        kind = ordinal(names) if values.cat.ordered else nominal(names)
        return Choice(column, kind, "ordered categories" if values.cat.ordered else "categories")
    if pd.api.types.is_bool_dtype(values.dtype):
        return Choice(column, "bernoulli", "booleans")
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _number(column, values.to_numpy(dtype=np.float64, na_value=np.nan))
    seen = values.dropna()
    if all(isinstance(value, bool) for value in seen):
        return Choice(column, "bernoulli", "booleans")
    levels = sorted(set(seen)) if all(isinstance(value, str) for value in seen) else []
    require_words(column, levels)
    if not 2 <= len(levels) <= MOST_LEVELS:
        raise DataError(
            f"column {column!r} of dtype {values.dtype}: no kind fits; leave it out, turn it into numbers, or into "
            "a category of two levels or more"
        )
    return Choice(column, nominal(levels), f"text of {len(levels)} values")


def _number(column: str, values: NDArray[np.float64]) -> Choice:
    seen = values[np.isfinite(values)]
    if not len(seen) or np.ptp(seen) == 0:
        return Choice(column, "gaussian", "always the same number" if len(seen) else "never observed")
    if set(np.unique(seen)) <= {0.0, 1.0}:
        return Choice(column, "bernoulli", "0 and 1")
    if (seen == seen.round()).all() and seen.min() >= 0 and seen.var() > seen.mean():
        return Choice(column, "negative-binomial", f"counts to {seen.max():g}")
    if seen.min() <= 0:
        return Choice(column, "gaussian", "numbers")
    logs = np.log(seen)
    if logs.std() == 0:
        return Choice(column, "gaussian", "numbers whose logarithms are equal to rounding")
    # Maximised log densities per datum of the two, in units of the column.
    gain = math.log(seen.std()) - math.log(logs.std()) - logs.mean()
    if gain > CLEAR_GAIN:
        return Choice(column, "log-normal", f"positive, by {gain:.2g} nats a cell over a gaussian")
    return Choice(column, "gaussian", "numbers, of which the logarithm is no nearer to a Gaussian")


def _in_words(kind: Config) -> str:
    levels = kind.get("levels")
    return f"{kind['name']}({len(levels) if isinstance(levels, list) else levels})"


def _codes(name: str, values: Any, part: Likelihood) -> Tensor:
    names = level_names(part)
    if not names:
        seen = values.dropna()
        if values.dtype == object and all(isinstance(value, Real) for value in seen):
            values = values.astype(float)
        return to_tensor(values.rename(name).to_frame(), f"column {name!r}")[:, 0].double()
    code = {level: float(number) for number, level in enumerate(names)}
    missing = values.isna().to_numpy()
    number = _by_number(names)
    found = [
        math.nan if gone else code.get(str(value), number.get(value) if isinstance(value, Real) else None)
        for value, gone in zip(values, missing, strict=True)
    ]
    if None in found:
        level = str(values.iloc[found.index(None)])
        raise DataError(f"column {name!r}: unknown level {level!r}; its levels are {', '.join(map(repr, names))}")
    return torch.tensor(found, dtype=torch.float64)


def _by_number(names: Sequence[str]) -> dict[object, float]:
    """The places of levels by the number that each is, as 1 is "1.0" in a column with a missing cell; or none."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return {}
    return {number: float(place) for place, number in enumerate(numbers)} if len(set(numbers)) == len(names) else {}


def _column(values: NDArray[np.float64], part: Likelihood) -> object:
    import pandas as pd

    whole = part.name in WHOLE or isinstance(part, OrdinalLikelihood | NominalLikelihood)
    names = level_names(part)
    # A missing level is one that a category of pandas' holds as well; whole numbers have no room for it.
    found = np.where(np.isnan(values), -1.0, values) if names else values
    if not whole or not (found == found.round()).all():
        return values
    codes = found.astype(np.int64)
    if not names:
        return codes
    labels = pd.Index(names)
    return pd.Categorical.from_codes(codes, labels, ordered=isinstance(part, OrdinalLikelihood))
