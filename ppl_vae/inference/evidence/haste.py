"""The warning that chains were annealed too fast for their stated error to mean anything.

The delta method's error of log (1/C) sum_c w_c is at most 1 nat, whatever the truth: it is that where one of the C
chains has all the weight, and then the estimate lies as far below log p(x) as the walk was too fast.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

#: With 16 chains, fewer than two of them in effect: (sum w)^2 / sum w^2 = C / (1 + (C - 1) s^2).
MOST_ERROR = 0.7
#: Of few chains one weighs so much by chance.
FEW_CHAINS, MOST_OF_FEW = 8, 0.99


def warn_of_haste(stderr: Tensor, num_chains: int) -> None:
    """Warn where the stated errors [N] of annealed estimates are those of a single chain."""
    lost = int((stderr > (MOST_OF_FEW if num_chains < FEW_CHAINS else MOST_ERROR)).sum())
    if lost:
        warnings.warn(
            f"annealing: of {lost} of {len(stderr)} data one of the {num_chains} chains has most of the weight; "
            "log p(x) may be larger by any number of nats, and the stated error, at most 1, says nothing of it. "
            "Take more num_temperatures, or start='guide'",
            stacklevel=4,
        )


@contextmanager
def haste_untold() -> Iterator[None]:
    """Leave the warning to a caller that compares the estimates with others, and says so itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="annealing: of ")
        yield
