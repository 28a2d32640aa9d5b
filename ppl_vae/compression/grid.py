r"""Numbers that two machines agree on: parameters of distributions on a grid, with a guard band.

Two machines, two thread counts and two batch sizes give sums that differ in their last digits, and a decoder that
sees another probability reads another message. So networks are evaluated in double precision and what they give is
rounded to a grid. A number that lies within the guard band about the border of two cells, which is wider than any
such difference by far, is written into the file with the cell that it was put in. Then rounding cannot differ,
unless a machine computes double precision to fewer than nine digits, and that the file's checksum refuses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

GUARD = 1e-9
#: Cells per unit of a logit, of a mean in bins, and of a log standard deviation.
LOGIT, MEAN, LOG_STD = 64, 8, 64
# Of a logit: beyond it a probability is below 2^-20.
MOST_LOGIT = 14
PROBABILITY = 1 << 20
LEAST_LOG_STD, MOST_LOG_STD = -12.0, 12.0


class Grid:
    """Rounding to cells, with a list of what was uncertain: by the place of a call, index and cell.

    Args:
        uncertain: the list of a file that is read; None notes a new one.
    """

    def __init__(self, uncertain: dict[str, list[list[int]]] | None = None) -> None:
        self.reading = uncertain is not None
        self.uncertain: dict[str, list[list[int]]] = {} if uncertain is None else uncertain

    def cells(self, values: NDArray[np.float64], place: str) -> NDArray[np.int64]:
        """The cell of every value; reader and writer name the place of a call alike."""
        shifted = values + 0.5
        lower = np.floor(shifted)
        cells = lower.astype(np.int64)
        if self.reading:
            for index, cell in self.uncertain.get(place, []):
                cells.flat[index] = cell
            return cells
        guard = GUARD * max(1.0, np.abs(values).max(initial=0.0))
        near = np.flatnonzero(np.abs(shifted - lower - 0.5) > 0.5 - guard)
        if len(near):
            self.uncertain[place] = [[int(index), int(cells.flat[index])] for index in near]
        return cells

    def gaussian(
        self, loc: Tensor, scale: Tensor, bin_width: float, place: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean and the standard deviation in bins, on the grid."""
        mean = self.cells(_numbers(loc) / bin_width * MEAN, f"{place} mean") / MEAN
        log_std = np.clip(np.log(_numbers(scale) / bin_width), LEAST_LOG_STD, MOST_LOG_STD)
        return mean, _STD_TABLE[self.cells(log_std * LOG_STD, f"{place} std") - int(LEAST_LOG_STD * LOG_STD)]

    def probability(self, logits: Tensor, place: str) -> NDArray[np.float64]:
        """The probability of a one, a multiple of 2^-20 that is neither 0 nor 1."""
        clipped = np.clip(_numbers(logits), -MOST_LOGIT, MOST_LOGIT)
        return _PROBABILITY_TABLE[self.cells(clipped * LOGIT, f"{place} x") + MOST_LOGIT * LOGIT]


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.detach().double().cpu().numpy()


def tables() -> bytes:
    """The two tables as bytes, whose checksum says whether another machine has the same."""
    return _STD_TABLE.tobytes() + _PROBABILITY_TABLE.tobytes()


def _std_table() -> NDArray[np.float64]:
    cells = np.arange(int(LEAST_LOG_STD * LOG_STD), int(MOST_LOG_STD * LOG_STD) + 1)
    # Fewer digits than a library's exp is right to, so that the last of them does not matter.
    return np.exp(cells / LOG_STD).astype(np.float32).astype(np.float64)


def _probability_table() -> NDArray[np.float64]:
    cells = np.arange(-MOST_LOGIT * LOGIT, MOST_LOGIT * LOGIT + 1)
    p = np.round(PROBABILITY / (1 + np.exp(-cells / LOGIT)))
    return np.clip(p, 1, PROBABILITY - 1) / PROBABILITY


_STD_TABLE = _std_table()
_PROBABILITY_TABLE = _probability_table()
