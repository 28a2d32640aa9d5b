r"""Test whether numbers in [0, 1] are uniform: their ECDF within simultaneous bands, without approximation.

At the fractions z_k = k / K, the number C_k of S uniform numbers below z_k is Binomial(S, z_k). A count's own
two-sided tail probability is t_k(c) = 2 min(P(C_k <= c), P(C_k >= c)). Bands that hold all of C_1, ..., C_{K-1}
with probability ``level`` are the counts with t_k(c) > gamma, for the gamma that gives this probability; the
p-value of a sample is the probability that uniform numbers have a smaller or equal min_k t_k (Säilynoja, Bürkner &
Vehtari 2022, https://arxiv.org/abs/2103.10522). The bands and the p-value are one test.

The probability that all counts stay inside is exact: given their total, the counts between neighbouring fractions
are those of independent Poisson variables, so that it is a chain of convolutions (Moscovich & Nadler 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ppl_vae.checks import integer
from ppl_vae.errors import ModelError

Array = NDArray[np.float64]
# Below this, one minus the probability of staying inside is rounding; the sum of the tails bounds it instead.
RESOLVED = 1e-9
# A tail probability that equals the observed one up to rounding is as extreme as it.
EQUAL = 1 + 1e-9


@dataclass(frozen=True)
class EcdfBands:
    """The simultaneous bands within which the ECDF of uniform numbers stays.

    Attributes:
        fraction: z_k = k / K, k = 1, ..., K - 1.
        lower: the least share of numbers below z_k that is inside.
        upper: the largest.
        level: the probability that uniform numbers stay inside, at least the level asked for.
    """

    fraction: Array
    lower: Array
    upper: Array
    level: float


@lru_cache(maxsize=8)
def ecdf_bands(num_simulations: int, num_ranks: int, level: float = 0.95) -> EcdfBands:
    """Compute simultaneous bands for the ECDF of S uniform numbers at k / K.

    Args:
        num_simulations: S, how many numbers.
        num_ranks: K, in how many equal parts [0, 1] is cut; ranks among L draws have L + 1 values.
        level: the probability that all K - 1 points stay inside. Counts are whole, so the bands have a little more.

    Raises:
        ModelError: fewer than one number or two parts, or a level outside (0, 1).
    """
    integer("num_simulations", num_simulations)
    integer("num_ranks", num_ranks, least=2)
    if not 0 < level < 1:
        raise ModelError(f"level must be between 0 and 1, got {level!r}")
    gamma = tail_quantile(num_simulations, num_ranks, 1 - level)
    inside = _tails(num_simulations, num_ranks) > gamma
    counts = np.arange(num_simulations + 1)
    return EcdfBands(
        fraction=np.arange(1, num_ranks) / num_ranks,
        lower=np.where(inside, counts, num_simulations).min(1) / num_simulations,
        upper=np.where(inside, counts, 0).max(1) / num_simulations,
        level=_stay(num_simulations, num_ranks, gamma),
    )


def ecdf(values: Array, num_ranks: int) -> Array:
    """The share of values [S] below k / K, k = 1, ..., K - 1: [K - 1]."""
    return np.searchsorted(np.sort(values), np.arange(1, num_ranks) / num_ranks, side="left") / len(values)


def uniformity_p_value(values: Array, num_ranks: int) -> float:
    """The probability that S uniform numbers stray as far from uniform as ``values`` [S] do, in [0, 1].

    The probability is exact down to RESOLVED; below that it is an upper bound.
    """
    size = len(values)
    extreme = least_tail(values, num_ranks) * EQUAL
    strayed = 1 - _stay(size, num_ranks, extreme)
    if strayed > RESOLVED:
        return min(1.0, strayed)
    # Where even a tail is too small for a number, the least number is above it.
    return float(min(1.0, (num_ranks - 1) * max(extreme, np.finfo(np.float64).tiny)))


def least_tail(values: Array, num_ranks: int) -> float:
    """The least two-sided tail probability over fractions, of the ECDF of values [S] in [0, 1]."""
    size = len(values)
    counts = np.rint(ecdf(values, num_ranks) * size).astype(int)
    return float(_tails(size, num_ranks)[np.arange(num_ranks - 1), counts].min())


def tail_quantile(size: int, num_ranks: int, probability: float) -> float:
    """The gamma that ``least_tail`` of uniform numbers lies below with that probability at most."""
    # The answer lies between the level of independent points and that of one point alone.
    low, high = math.log(probability / num_ranks), math.log(probability)
    for _ in range(30):
        middle = 0.5 * (low + high)
        if _stay(size, num_ranks, math.exp(middle)) >= 1 - probability:
            low = middle
        else:
            high = middle
    return math.exp(low)


@lru_cache(maxsize=4)
def _tails(size: int, num_ranks: int) -> Array:
    """The two-sided tail probability of every count at every fraction: [K - 1, S + 1]."""
    fraction = np.arange(1, num_ranks)[:, None] / num_ranks
    counts = np.arange(size + 1)
    below = stats.binom.cdf(counts, size, fraction)
    above = stats.binom.sf(counts - 1, size, fraction)
    tails: Array = np.minimum(1.0, 2 * np.minimum(below, above))
    return tails


def _stay(size: int, num_ranks: int, gamma: float) -> float:
    """The probability that every count's tail probability is above ``gamma``."""
    mean = size / num_ranks
    # Beyond this a Poisson's tail is below 1e-18.
    longest = min(size, math.ceil(mean + 12 * math.sqrt(mean) + 30))
    increment = stats.poisson.pmf(np.arange(longest + 1), mean)
    paths = np.ones(1)
    for inside in _tails(size, num_ranks) > gamma:
        paths = np.convolve(paths, increment)[: size + 1]
        paths = paths * inside[: len(paths)]
    remaining = size - np.arange(len(paths))
    return float(paths @ stats.poisson.pmf(remaining, mean) / stats.poisson.pmf(size, size))


def lean(values: Array) -> tuple[float, float]:
    """The direction in which numbers stray: standard scores of their mean and of their spread about 1/2.

    The first is positive where they are too large; the second is positive where they crowd at the ends
    (a U shape), negative where they crowd in the middle. Uniform numbers have (0, 0) with unit errors.
    """
    offset = values - 0.5
    shift = math.sqrt(12 * len(values)) * offset.mean()
    spread = math.sqrt(180 * len(values)) * (np.square(offset).mean() - 1 / 12)
    return float(shift), float(spread)
