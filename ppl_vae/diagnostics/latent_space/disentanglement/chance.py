"""The two numbers that stand beside every score: its standard error over samples, and its level by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.gaussian_total_correlation import gaussian_total_correlation
from ppl_vae.diagnostics.latent_space.disentanglement.irs import irs
from ppl_vae.diagnostics.latent_space.disentanglement.metrics import Metric
from ppl_vae.diagnostics.latent_space.disentanglement.mig import mig
from ppl_vae.diagnostics.latent_space.disentanglement.modularity import modularity
from ppl_vae.randomness import derived_seed

BLOCKS = 10
#: A block of fewer data than this is no smaller copy of the whole.
LEAST_BLOCK = 50
SMOOTH = (mig, modularity, gaussian_total_correlation)
_BLOCK_STREAM, _CHANCE_STREAM = 1, 2


def stderr_over_samples(metric: Metric, coded: Coded) -> dict[str, float]:
    """The standard error of scores over samples, from ten groups of the data.

    Scores that are smooth functions of counts or covariances (MIG, modularity, total correlation) have the
    delete-a-group jackknife (Efron & Stein 1981). Those that draw batches or fit learners have the spread over ten
    disjoint blocks, each with a tenth of the data and of the votes, over the root of ten, so that the noise of a
    metric's own draws is in it; a block has another bias than the whole, and the spread alone is taken from it. IRS
    rests on a maximum, which does not settle at the rate of a mean: the spread of the blocks itself is stated. NaN
    where a block has fewer than 50 data.
    """
    rows = np.random.default_rng(derived_seed(coded.seed, _BLOCK_STREAM)).permutation(len(coded.codes))
    if len(rows) // BLOCKS < LEAST_BLOCK:
        return dict.fromkeys(metric(coded), math.nan)
    blocks = np.array_split(rows, BLOCKS)
    scores: list[Mapping[str, float]]
    if metric in SMOOTH:
        rest = [np.concatenate(blocks[:index] + blocks[index + 1 :]) for index in range(BLOCKS)]
        scores = [metric(_part(coded, part, coded.votes, index)) for index, part in enumerate(rest)]
        factor = (BLOCKS - 1) / math.sqrt(BLOCKS)
    else:
        votes = max(1, coded.votes // BLOCKS)
        scores = [metric(_part(coded, block, votes, index)) for index, block in enumerate(blocks)]
        factor = 1.0 if metric is irs else 1 / math.sqrt(BLOCKS)
    return {name: factor * _spread([each[name] for each in scores]) for name in scores[0]}


def _part(coded: Coded, rows: NDArray[np.int64], votes: int, index: int) -> Coded:
    seed = derived_seed(coded.seed, _BLOCK_STREAM, index)
    return replace(coded, codes=coded.codes[rows], factors=coded.factors.take(rows), votes=votes, seed=seed)


def by_chance(metric: Metric, coded: Coded, num_shuffles: int) -> tuple[dict[str, float], dict[str, float]]:
    """The mean of scores where codes know nothing of factors, and the spread of one such score.

    The rows of the factors are shuffled: both codes and factors keep their relations among themselves. Total
    correlation, which is of codes alone, has each of them shuffled for itself.

    Args:
        metric: the scores.
        coded: codes and factors.
        num_shuffles: how often they are shuffled anew; the spread is NaN for one.
    """
    rng = np.random.default_rng(derived_seed(coded.seed, _CHANCE_STREAM))
    scores = []
    for index in range(num_shuffles):
        if metric is gaussian_total_correlation:
            codes = rng.permuted(coded.codes, axis=0)
        else:
            codes = rng.permutation(coded.codes, axis=0)
        seed = derived_seed(coded.seed, _CHANCE_STREAM, index)
        scores.append(metric(replace(coded, codes=codes, seed=seed)))
    return _means(scores), {name: _spread([each[name] for each in scores]) for name in scores[0]}


def _means(scores: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else math.nan
