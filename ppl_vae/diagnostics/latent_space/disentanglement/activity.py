"""Active dimensions of codes, the ones that are judged: the rule for inactive and for duplicated ones.

A histogram has no scale: a code that is 1e-6 times a factor looks as informative as the factor itself, and would be
the runner-up that takes the gap away. So a dimension whose variance over the data is at most 0.01 of its prior's
(Burda, Grosse & Salakhutdinov 2016, https://arxiv.org/abs/1509.00519) is left out of every metric. A dimension that
repeats another stays in, since the code is what it is, but is named, and scores without it stand beside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppl_vae.inference.pair.active_units import ACTIVE_THRESHOLD

#: Two dimensions are the same code where their correlation is at least this, up to sign.
SAME = 0.99


def active_dimensions(
    codes: NDArray[np.float64], threshold: float | NDArray[np.float64] = ACTIVE_THRESHOLD
) -> NDArray[np.bool_]:
    """Tell which dimensions of codes [n, L] have a variance above the threshold, one for all or of each: [L]."""
    return codes.var(0, ddof=1) > threshold


def duplicates(codes: NDArray[np.float64], active: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For every dimension the first active one that it repeats, or -1: [L]."""
    of = np.full(codes.shape[1], -1)
    kept: list[int] = []
    for dimension in np.flatnonzero(active):
        same = [other for other in kept if abs(np.corrcoef(codes[:, dimension], codes[:, other])[0, 1]) >= SAME]
        if same:
            of[dimension] = same[0]
        else:
            kept.append(int(dimension))
    return of
