"""Medians, quartiles and ratios over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 2000
COVERAGE = 0.95


@dataclass(frozen=True)
class Spread:
    """A median and two bounds around it."""

    median: float
    lower: float
    upper: float

    def rounded(self, digits: int = 4) -> dict[str, float]:
        """For a file: so many significant digits."""
        return {name: float(f"{value:.{digits}g}") for name, value in asdict(self).items()}


def quartiles(values: Sequence[float]) -> Spread:
    """The median and the quartiles of the rounds."""
    lower, median, upper = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75))
    return Spread(float(median), float(lower), float(upper))


def ratio(numerator: Sequence[float], denominator: Sequence[float], seed: int = 0) -> Spread:
    """The ratio of two medians, with a 95% percentile interval by the bootstrap over rounds (Efron 1979).

    A round is drawn for both at once: what slowed the machine in a round slowed both.

    Raises:
        ValueError: the two have different numbers of rounds.
    """
    top, bottom = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    if top.shape != bottom.shape:
        raise ValueError(f"{len(top)} and {len(bottom)} rounds cannot be paired")
    drawn = np.random.default_rng(seed).integers(0, len(top), (RESAMPLES, len(top)))
    resampled = np.median(top[drawn], axis=1) / np.median(bottom[drawn], axis=1)
    tail = (1 - COVERAGE) / 2
    lower, upper = np.quantile(resampled, (tail, 1 - tail))
    return Spread(float(np.median(top) / np.median(bottom)), float(lower), float(upper))
