"""Ground-truth factors as levels: the form in which every metric of disentanglement reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppl_vae.arrays import to_tensor
from ppl_vae.errors import DataError

#: A factor with more distinct values than this counts as continuous.
MOST_LEVELS = 50


@dataclass(frozen=True)
class Factors:
    """The factors of variation of n data.

    Attributes:
        values: as they were given [n, F].
        levels: numbered from 0 within each factor [n, F]; a continuous factor is cut into levels of equal counts.
        continuous: which factors are continuous [F], bool.
        names: of the factors.
    """

    values: NDArray[np.float64]
    levels: NDArray[np.int64]
    continuous: NDArray[np.bool_]
    names: tuple[str, ...]

    def take(self, rows: NDArray[np.int64]) -> Factors:
        """The factors of some of the data; a level keeps its number."""
        return Factors(self.values[rows], self.levels[rows], self.continuous, self.names)

    @property
    def num_factors(self) -> int:
        """The number of factors F."""
        return self.levels.shape[1]


def factor_levels(factors: ArrayLike, names: tuple[str, ...] = (), bins: int = 20) -> Factors:
    """Number the levels of factors [n, F].

    A factor that takes one value alone says nothing of a code and is left out.

    Args:
        factors: the values, one column a factor.
        names: one a column; "factor 0", ... where they are not given.
        bins: the number of levels of a continuous factor.

    Raises:
        DataError: factors are no matrix of finite numbers, names do not fit, or no factor varies.
    """
    values = to_tensor(factors, "factors", "numbers [N, F]").double().cpu().numpy()
    if values.ndim != 2 or not values.size:
        raise DataError(f"factors: expected numbers [N, F], got shape {list(values.shape)}")
    if not np.isfinite(values).all():
        raise DataError(f"factors: {int((~np.isfinite(values)).sum())} of {values.size} values are NaN or infinite")
    names = tuple(names) or tuple(f"factor {index}" for index in range(values.shape[1]))
    if len(names) != values.shape[1]:
        raise DataError(f"factor_names: expected {values.shape[1]} names, one a column, got {len(names)}")
    varying = np.flatnonzero((values != values[0]).any(0))
    if not len(varying):
        raise DataError("factors: every factor has one value alone in these data")
    values = values[:, varying]
    continuous = np.array([len(np.unique(column)) > MOST_LEVELS for column in values.T])
    columns = [_cut(c, bins) if many else _numbered(c) for c, many in zip(values.T, continuous, strict=True)]
    return Factors(values, np.stack(columns, 1), continuous, tuple(names[index] for index in varying))


def _numbered(column: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


def _cut(column: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    edges = np.quantile(column, np.linspace(0, 1, bins + 1)[1:-1])
    return _numbered(np.searchsorted(edges, column, side="right").astype(np.float64))
