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
# Of one function at one number, which no sum goes before.
TABLE_GUARD = 1e-12
#: Cells per unit of a logit, of a mean in bins, and of a log standard deviation. A logit that is off by 1/16 at
#: most costs p (1 - p) / 1536 nats on average, which is 0.02% of a message on MNIST.
LOGIT, MEAN, LOG_STD = 8, 8, 64
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

    def cells(self, values: NDArray[np.float64], place: str, guard: float = GUARD) -> NDArray[np.float64]:
        """The cell of every value, a whole number; reader and writer name the place of a call alike.

        Args:
            values: double precision, any shape.
            place: of the call.
            guard: half the width of the guard band, of the largest value.
        """
        shifted = values + 0.5
        cells = np.floor(shifted)
        if self.reading:
            for index, cell in self.uncertain.get(place, []):
                cells.flat[index] = cell
            return cells
        largest = max(1.0, values.max(initial=0.0), -values.min(initial=0.0))
        # How far each lies from the middle of its cell, in place of the shifted values.
        shifted -= cells
        shifted -= 0.5
        near = np.flatnonzero(np.abs(shifted, out=shifted) > 0.5 - guard * largest)
        if len(near):
            self.uncertain[place] = [[int(index), int(cells.flat[index])] for index in near]
        return cells

    def gaussian(
        self, loc: Tensor, scale: Tensor, bin_width: float, place: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean and the standard deviation in bins, on the grid."""
        mean = self.cells(_numbers(loc) / bin_width * MEAN, f"{place} mean") / MEAN
        log_std = np.clip(np.log(_numbers(scale) / bin_width), LEAST_LOG_STD, MOST_LOG_STD)
        cells = self.cells(log_std * LOG_STD, f"{place} std") - LEAST_LOG_STD * LOG_STD
        return mean, _STD_TABLE[cells.astype(np.int32)]

    def pixels(self, logits: Tensor, place: str) -> NDArray[np.int32]:
        """The cell in ``PROBABILITY_TABLE`` of the probability of a one, of every pixel [n]."""
        clipped = np.clip(_numbers(logits).ravel(), -MOST_LOGIT, MOST_LOGIT)
        return (self.cells(clipped * LOGIT, f"{place} x") + MOST_LOGIT * LOGIT).astype(np.int32)


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.detach().double().cpu().numpy()


def tables() -> bytes:
    """The two tables as bytes, whose checksum says whether another machine has the same."""
    return _STD_TABLE.tobytes() + PROBABILITY_TABLE.tobytes()


def byte_probabilities(cell: int) -> NDArray[np.float64]:
    """The probabilities of eight pixels of one cell together [256], the first pixel in the highest bit.

    They are products alone, which IEEE 754 rounds alike everywhere.
    """
    p = PROBABILITY_TABLE[cell]
    products = one = np.array([1 - p, p])
    for _ in range(7):
        products = np.multiply.outer(products, one).ravel()
    return products


def _std_table() -> NDArray[np.float64]:
    cells = np.arange(int(LEAST_LOG_STD * LOG_STD), int(MOST_LOG_STD * LOG_STD) + 1)
    # Fewer digits than a library's exp is right to, so that the last of them does not matter.
    return np.exp(cells / LOG_STD).astype(np.float32).astype(np.float64)


def _probability_table() -> NDArray[np.float64]:
    """Multiples of 2^-20 that are neither 0 nor 1."""
    cells = np.arange(-MOST_LOGIT * LOGIT, MOST_LOGIT * LOGIT + 1)
    p = np.round(PROBABILITY / (1 + np.exp(-cells / LOGIT)))
    return np.clip(p, 1, PROBABILITY - 1) / PROBABILITY


_STD_TABLE = _std_table()
PROBABILITY_TABLE = _probability_table()
