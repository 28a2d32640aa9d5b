"""Batches and pairs of data that share the level of one factor, drawn from a fixed set of data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics.latent_space.disentanglement.factors import Factors

# Rows that are gathered at once.
BLOCK_ROWS = 1 << 16


def sharing_batches(
    factors: Factors, votes: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw batches whose data share one level of one factor: the factor uniform, the level that of a random datum.

    Rows are drawn with replacement from the data of that level.

    Args:
        factors: of the data.
        votes: the number of batches.
        size: data in each.
        rng: the stream.

    Yields:
        The shared factors [b] and the rows [b, size] of b batches, until there were ``votes``.
    """
    mates = _Mates(factors.levels)
    for count in _blocks(votes, size):
        shared = rng.integers(factors.num_factors, size=count)
        first = rng.integers(len(factors.levels), size=(count, 1))
        yield shared, mates.draw(first.repeat(size, 1), shared, rng)


def sharing_pairs(
    factors: Factors, votes: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Draw sets of pairs: the two of a pair share their level of the set's factor, other pairs have other levels.

    Args:
        factors: of the data.
        votes: the number of sets.
        size: pairs in each.
        rng: the stream.

    Yields:
        The shared factors [b], and the rows of the first and the second of each pair, [b, size] each.
    """
    mates = _Mates(factors.levels)
    for count in _blocks(votes, size):
        shared = rng.integers(factors.num_factors, size=count)
        first = rng.integers(len(factors.levels), size=(count, size))
        yield shared, first, mates.draw(first, shared, rng)


class _Mates:
    """The data of every level of every factor, from levels [n, F]."""

    def __init__(self, levels: NDArray[np.int64]) -> None:
        most = levels.max() + 1
        self.levels = levels
        self.sorted_rows = np.argsort(levels, axis=0, kind="stable")
        self.counts = np.stack([np.bincount(column, minlength=most) for column in levels.T])
        self.starts = np.cumsum(self.counts, 1) - self.counts

    def draw(
        self, rows: NDArray[np.int64], shared: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """For each of rows [b, size] a row of the same level of the factor ``shared`` [b]."""
        factor = shared[:, None]
        level = self.levels[rows, factor]
        steps = (rng.random(rows.shape) * self.counts[factor, level]).astype(np.int64)
        return self.sorted_rows[self.starts[factor, level] + steps, factor]


def _blocks(votes: int, size: int) -> Iterator[int]:
    step = max(1, BLOCK_ROWS // size)
    for first in range(0, votes, step):
        yield min(step, votes - first)
