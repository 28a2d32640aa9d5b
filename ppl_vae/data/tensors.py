"""Turn arrays of a user's file into the tensors of a split: layout, value range, labels, factors.

Layout of x, by its number of dimensions:

    [N, D]        as it is
    [N, H, W]     becomes [N, 1, H, W]
    four          [N, C, H, W], unless the last dimension is 1, 3 or 4 and the second is not: then it is
                  [N, H, W, C], and the channels are moved to the front
    more          as it is
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.containers import Labels
from ppl_vae.data.dataset import Split
from ppl_vae.data.lost_digits import warn_of_lost_digits
from ppl_vae.errors import DataError

#: The bounds that values must keep, or None for any real numbers.
ValueRange = tuple[float, float] | None

UNIT_RANGE = (0.0, 1.0)
_CHANNELS = (1, 3, 4)
# Beside an offset, what keeps the digits of a file's numbers.
WIDER = "give the numbers as an array to a model in double precision, vae.double()"
_MISSING = (
    "; missing values are said by an array mask beside x in an .npz, 1 where a value was observed, and modelled by "
    "likelihood={'name': 'missing-pixels', 'of': ...}"
)


@dataclass(frozen=True)
class Arrays:
    """The arrays of one split as a file holds them.

    Attributes:
        x: data [N, ...].
        y: labels [N] or [N, 1], or None.
        factors: ground-truth factors [N, F], or None.
        missing: where x was not observed, booleans of its shape, or None; x itself has no NaN there.
        covariates: numbers by name, [N, ...] each.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    factors: np.ndarray | None = None
    missing: np.ndarray | None = None
    covariates: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, index: np.ndarray) -> Arrays:
        y, factors, missing = (None if p is None else p[index] for p in (self.y, self.factors, self.missing))
        covariates = {name: c[index] for name, c in self.covariates.items()}
        return Arrays(self.x[index], y, factors, missing, covariates)


def unit_divisor(parts: list[Arrays], value_range: ValueRange) -> int:
    """The divisor that takes uint8 values into [0, 1]: 255, or 1 where no value of any split is above 1.

    Other number types are never rescaled, nor are bytes where other bounds than [0, 1] are asked for.
    """
    if value_range is None or tuple(value_range) != UNIT_RANGE or any(part.x.dtype != np.uint8 for part in parts):
        return 1
    return 255 if max(part.x.max() for part in parts) > 1 else 1


def to_split(
    arrays: Arrays,
    where: object,
    value_range: ValueRange = UNIT_RANGE,
    divisor: int = 1,
    labels: Labels | None = None,
) -> Split:
    """Check the arrays of one split, once, and makes tensors of them.

    Args:
        arrays: x of any real number type; y of whole numbers; factors of any real number type.
        where: the file, for messages.
        value_range: the bounds that x must keep after division; None asks for finite values only.
        divisor: what x is divided by.
        labels: the names of rows and columns, for warnings.

    Raises:
        DataError: values that are not finite or out of bounds, or counts and shapes that do not fit.
    """
    x = _floats(_channels_first(arrays.x, where), f"{where}: x").div_(divisor)
    _check_range(x, where, value_range)
    _warn_of_lost_digits(arrays, where, labels)
    if arrays.missing is not None:
        x[torch.from_numpy(_channels_first(arrays.missing, where))] = torch.nan
    y = None if arrays.y is None else _labels(arrays.y, len(x), where)
    factors = None if arrays.factors is None else _factors(arrays.factors, len(x), where)
    covariates = {
        name: _covariate(c, len(x), f"{where}: covariate_{name}") for name, c in arrays.covariates.items()
    }
    return Split(x, y, factors, covariates=covariates)


def _warn_of_lost_digits(arrays: Arrays, where: object, labels: Labels | None) -> None:
    """Warn where single precision, in which splits are, tells the values of a coordinate no longer apart."""
    x = arrays.x if arrays.missing is None else np.where(arrays.missing, np.nan, arrays.x)
    if x.dtype.itemsize >= 4:
        warn_of_lost_digits(to_tensor(x), torch.float32, labels, str(where), WIDER)
    for name, c in arrays.covariates.items():
        # Whole numbers stay whole.
        if c.dtype.kind == "f":
            warn_of_lost_digits(to_tensor(c), torch.float32, None, f"{where}: covariate {name!r}", WIDER)


def _channels_first(x: np.ndarray, where: object) -> np.ndarray:
    if x.ndim < 2:
        raise DataError(f"{where}: expected x of shape [N, ...] with 2 dimensions or more, found {x.shape}")
    if x.ndim == 3:
        return x[:, None]
    return np.moveaxis(x, 3, 1) if channels_last(x) else x


def channels_last(x: np.ndarray) -> bool:
    """Tell whether x is read as [N, H, W, C]."""
    return x.ndim == 4 and x.shape[3] in _CHANNELS and x.shape[1] not in _CHANNELS


def _floats(values: np.ndarray, where: str) -> Tensor:
    """Copy into a contiguous float32 tensor; refuse what is not finite, there or in float32."""
    with np.errstate(over="ignore"):
        floats = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
    broken = ~floats.isfinite()
    if broken.any():
        first = tuple(broken.nonzero()[0].tolist())
        missing = _MISSING if floats.isnan().any() else ""
        raise DataError(
            f"{where}: expected finite float32 values, found {int(broken.sum())} that are NaN, infinite or "
            f"too large, the first at index {first}{missing}"
        )
    return floats


def _check_range(x: Tensor, where: object, value_range: ValueRange) -> None:
    if value_range is None:
        return
    low, high = value_range
    least, most = x.min().item(), x.max().item()
    if not (low <= least and most <= high):
        raise DataError(
            f"{where}: expected x in [{low:g}, {high:g}], found values from {least:.9g} to {most:.9g}; "
            "rescale them, or load real-valued data with value_range=None"
        )


def check_bounds(value_range: ValueRange) -> None:
    """Refuse bounds that are not None or two finite numbers in order.

    Raises:
        DataError: other bounds.
    """
    if value_range is None:
        return
    try:
        low, high = value_range
        good = math.isfinite(low) and math.isfinite(high) and low < high
    except (TypeError, ValueError):
        good = False
    if not good:
        raise DataError(f"value_range: expected (low, high) or None, found {value_range!r}")


def _labels(y: np.ndarray, count: int, where: object) -> Tensor:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "biu":
        raise DataError(f"{where}: expected y as whole numbers [N], found dtype {y.dtype} and shape {y.shape}")
    if len(y) != count:
        raise DataError(f"{where}: expected as many labels as data, found {len(y)} labels for {count} data")
    if y.dtype == np.uint64 and y.max() > np.iinfo(np.int64).max:
        raise DataError(f"{where}: expected labels that fit int64, found {y.max()}")
    return torch.from_numpy(y.astype(np.int64))


def _covariate(c: np.ndarray, count: int, where: str) -> Tensor:
    if c.dtype.kind not in "biuf" or c.ndim == 0 or len(c) != count:
        raise DataError(f"{where}: expected numbers [{count}, ...], found dtype {c.dtype} and shape {c.shape}")
    return _floats(c, where) if c.dtype.kind == "f" else torch.from_numpy(c.astype(np.int64))


def _factors(factors: np.ndarray, count: int, where: object) -> Tensor:
    if factors.ndim != 2:
        raise DataError(f"{where}: expected factors of shape [N, F], found {factors.shape}")
    if len(factors) != count:
        raise DataError(f"{where}: expected a row of factors for each datum, found {len(factors)} for {count} data")
    return _floats(factors, f"{where}: factors")
