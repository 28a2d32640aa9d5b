"""The statistics of predictive checks: numbers of a datum or of a data set, by default or the user's own.

A statistic is a function of data [N, *event_shape] that returns a number for each datum [N], whose mean over the
data is then compared, or one number for the data set. NaN is a missing coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppl_vae.errors import ModelError

# A function of the data, or of data by observed site where there are several.
Statistic = Callable[[Any], Any]


def default_statistics(x: Tensor, columns: Sequence[str] = ()) -> dict[str, Statistic]:
    """Choose statistics that suit data [N, *event_shape].

    For a table of named columns of different kinds the mean and the spread of each column, since a mean over
    columns would add years to incomes. For other data the mean of a datum, its standard deviation (of several
    coordinates), the spread of sums over the data (of several data) and the share of zeros (where some coordinates
    are 0 and not all are 0 or 1).
    """
    if columns:
        return _of_columns(columns)
    chosen: dict[str, Statistic] = {"mean": _mean}
    if x[0].numel() > 1:
        chosen["standard deviation"] = _standard_deviation
    if len(x) > 1:
        chosen["spread of sums"] = _spread_of_sums
    zeros = x == 0
    if zeros.any() and not bool((zeros | (x == 1) | x.isnan()).all()):
        chosen["share of zeros"] = _share_of_zeros
    return chosen


def _of_columns(columns: Sequence[str]) -> dict[str, Statistic]:
    chosen: dict[str, Statistic] = {}
    for place, name in enumerate(columns):
        chosen[f"mean of {name}"] = partial(_column_mean, place=place)
        chosen[f"spread of {name}"] = partial(_column_spread, place=place)
    return chosen


def _column_mean(x: Tensor, place: int) -> Tensor:
    return x[:, place].double().nanmean()


def _column_spread(x: Tensor, place: int) -> Tensor:
    values = x[:, place].double()
    return (values - values.nanmean()).square().nanmean().sqrt()


def _mean(x: Tensor) -> Tensor:
    values, number = _observed(x)
    return values.sum(1, dtype=torch.float64) / number


def _standard_deviation(x: Tensor) -> Tensor:
    mean = _mean(x)[:, None].to(x.dtype)
    squares, number = _observed((x.reshape(len(x), -1) - mean).square())
    return (squares.sum(1, dtype=torch.float64) / number).sqrt()


def _spread_of_sums(x: Tensor) -> Tensor:
    values, number = _observed(x)
    sums = values.sum(1, dtype=torch.float64)
    return (sums if isinstance(number, int) else sums[number > 0]).std()


def _share_of_zeros(x: Tensor) -> Tensor:
    return (x.reshape(len(x), -1) == 0).sum(1) / _observed(x)[1]


def _observed(x: Tensor) -> tuple[Tensor, Tensor | int]:
    """Return coordinates [N, D] with 0 where one is missing, and how many each datum has: [N], or D for all."""
    flat = x.reshape(len(x), -1)
    missing = flat.isnan()
    if not missing.any():
        return flat, flat.shape[1]
    return torch.where(missing, 0.0, flat), (~missing).sum(1)


def named_statistics(statistics: Mapping[str, Statistic]) -> dict[str, Statistic]:
    """Check a user's statistics: functions by name.

    Raises:
        ModelError: they are no mapping, there is none, or one is no function; it is named.
    """
    if not isinstance(statistics, Mapping) or not statistics:
        raise ModelError(f"statistics: expected functions by name, at least one, got {statistics!r}")
    for name, statistic in statistics.items():
        if not callable(statistic):
            raise ModelError(f"statistic {name!r}: expected a function of the data, got {statistic!r}")
    return dict(statistics)


def evaluated(
    statistics: Mapping[str, Statistic], x: Tensor | Mapping[str, Tensor], size: int | None = None
) -> dict[str, Tensor]:
    """Evaluate every statistic of a data set of ``size`` data, or len(x): [N] or [], float64 in main memory.

    That of a datum of which nothing is there may be NaN, and is left out.

    Raises:
        ModelError: a statistic has another shape, or is not finite; it is named.
    """
    found, size = {}, len(x) if size is None else size
    empty = torch.zeros(size, dtype=torch.bool)
    if isinstance(x, Tensor):
        empty = x.reshape(len(x), -1).isnan().all(1).cpu()
    for name, statistic in statistics.items():
        value = torch.as_tensor(statistic(x)).detach().double().cpu()
        if value.shape not in ((), (size,)):
            raise ModelError(
                f"statistic {name!r}: expected a number for each of {size} data or one for all, "
                f"got shape {list(value.shape)}"
            )
        told = value[~(empty & value.isnan())] if value.dim() else value
        if not told.numel() or not told.isfinite().all():
            raise ModelError(f"statistic {name!r}: expected finite numbers, found some that are NaN or infinite")
        found[name] = value
    return found
