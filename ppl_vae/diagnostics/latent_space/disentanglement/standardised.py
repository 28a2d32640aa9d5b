"""Codes in units of their own spread, so that a penalty of a learner weighs all alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def standardised(codes: NDArray[np.float64], rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
    """Codes [n, L] less the mean, over the standard deviation, of ``rows``."""
    spread = codes[rows].std(0)
    return (codes - codes[rows].mean(0)) / np.where(spread > 0, spread, 1.0)
