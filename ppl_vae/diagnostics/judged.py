"""The requirements of a verdict: a table of the right kind, finite figures, and errors small enough for the word.

A figure with its error is an interval, the figure plus and minus two standard errors. "good" is said where the
whole of it is on the good side of the first limit, "bad" where the whole is beyond the second, "doubtful" where it
is beyond the first alone; where it lies across the first limit the word is "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ppl_vae.diagnostics.verdict import Level
from ppl_vae.errors import DataError

ERRORS = 2.0


def level_of(value: float, error: float, good: float, bad: float) -> Level:
    """Choose the level of a figure that is the worse the larger it is.

    Args:
        value: the figure.
        error: its standard error; NaN where it is not known.
        good: at most this much is good.
        bad: more than this is bad.

    >>> [level_of(value, 0.05, 0.1, 0.5) for value in (-0.1, 0.1, 0.3, 0.7)]
    ['good', 'unknown', 'doubtful', 'bad']
    """
    if not math.isfinite(value) or not math.isfinite(error):
        return "unknown"
    low, high = value - ERRORS * error, value + ERRORS * error
    if low > bad:
        return "bad"
    if high <= good:
        return "good"
    return "doubtful" if low > good else "unknown"


def share_stderr(share: float, count: int) -> float:
    """The standard error of a share of ``count`` data; at 0 and 1 by Laplace's rule of succession."""
    chance = share if 0 < share < 1 else (share * count + 1) / (count + 2)
    return math.sqrt(chance * (1 - chance) / count)


def require_table(
    name: str, table: xr.Dataset, source: str, variables: Sequence[str], dims: Sequence[str] = ()
) -> None:
    """Refuse a table that ``source`` did not make, or that is over nothing.

    Raises:
        DataError: a variable or a dimension is missing, or a dimension has no length; it is named.
    """
    missing = [each for each in variables if each not in table] + [dim for dim in dims if dim not in table.dims]
    if missing:
        raise DataError(f"{name}: expected what {source} returns, found no {', '.join(missing)}")
    for dim in dims:
        if not table.sizes[dim]:
            raise DataError(f"{name}: expected what {source} returns, found nothing along {dim!r}")


def require_finite(name: str, variable: str, values: Any) -> None:
    """Refuse figures that are NaN or infinite: nothing can be said of them, least of all that they are good.

    Raises:
        DataError: some are; the variable and their number are named.
    """
    found = np.asarray(values, dtype=np.float64)
    broken = int((~np.isfinite(found)).sum())
    if broken:
        raise DataError(f"{name}: {broken} of the {found.size} numbers of {variable!r} are NaN or infinite")
