"""The scores of one run, and what several runs say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.diagnostics.latent_space.disentanglement.chance import by_chance, stderr_over_samples
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.metrics import BINNED, METRICS
from ppl_vae.diagnostics.latent_space.disentanglement.udr import udr
from ppl_vae.randomness import derived_seed

FIGURES = ("score", "stderr", "chance", "chance_spread", "without_duplicates")
_UDR_STREAM = 3


def run_table(
    coded: Coded, active: NDArray[np.bool_], of: NDArray[np.int64], names: Sequence[str], num_shuffles: int
) -> xr.Dataset:
    """Tabulate the scores of one run.

    Args:
        coded: all dimensions of the codes [n, L], and the factors.
        active: which of them are judged [L].
        of: the dimension that each repeats, or -1 [L].
        names: of the metrics.
        num_shuffles: for the level by chance.
    """
    judged, distinct = (replace(coded, codes=coded.codes[:, on]) for on in (active, active & (of < 0)))
    columns: dict[str, list[float]] = {}
    for name in names:
        metric = METRICS[name]
        scores = metric(judged)
        beside = stderr_over_samples(metric, judged), *by_chance(metric, judged, num_shuffles)
        without = metric(distinct) if (of >= 0).any() else dict.fromkeys(scores, math.nan)
        for score in scores:
            columns[score] = [each[score] for each in (scores, *beside, without)]
    figures = np.array(list(columns.values())).T
    table = xr.Dataset(
        {figure: ("metric", values) for figure, values in zip(FIGURES, figures, strict=True)},
        {"metric": list(columns), "factor": list(coded.factors.names), "latent": np.arange(coded.num_codes)},
    )
    information = np.full((coded.num_codes, coded.factors.num_factors), math.nan)
    information[active] = judged.information
    table["mutual_information"] = ("latent", "factor"), information, {"units": "nats"}
    return table.merge(_by_bins(judged, [name for name in names if name in BINNED], num_shuffles))


def _by_bins(coded: Coded, names: Sequence[str], num_shuffles: int) -> xr.Dataset:
    """Compute the scores of histograms, and their level by chance, with half, as many and twice the bins."""
    numbers = [max(2, coded.bins // 2), coded.bins, 2 * coded.bins]
    scores, chance = np.full((2, len(names), len(numbers)), math.nan)
    for row, name in enumerate(names):
        for column, bins in enumerate(numbers):
            histogram = replace(coded, bins=bins)
            scores[row, column] = METRICS[name](histogram)[name]
            chance[row, column] = by_chance(METRICS[name], histogram, num_shuffles)[0][name]
    dims = ("binned_metric", "bins")
    coordinates = {"binned_metric": list(names), "bins": numbers}
    return xr.Dataset({"by_bins": (dims, scores), "chance_by_bins": (dims, chance)}, coordinates)


def over_runs(table: xr.Dataset) -> xr.Dataset:
    """The mean of the scores over runs, and its standard error, which is NaN for one run."""
    runs = table.sizes["run"]
    spread = table["score"].std("run", ddof=1) if runs > 1 else table["score"].mean("run") * math.nan
    return xr.Dataset({"mean": table["score"].mean("run"), "stderr_over_runs": spread / math.sqrt(runs)})


def agreement(codes: NDArray[np.float64], active: NDArray[np.bool_], seed: int) -> xr.Dataset:
    """Compute UDR of codes [R, n, L]: per run, its mean, the error of the mean over runs, and the level by chance.

    Every run is in the UDR of the others, so that the error over runs is a lower one than that of independent runs.
    """
    runs = [run[:, on] for run, on in zip(codes, active, strict=True)]
    ranks, chance = np.full(len(runs), math.nan), math.nan
    if len(runs) > 1:
        rng = np.random.default_rng(derived_seed(seed, _UDR_STREAM))
        ranks = udr(runs)
        chance = float(udr([rng.permutation(run) for run in runs]).mean())
    error = float(ranks.std(ddof=1) / math.sqrt(len(runs))) if len(runs) > 1 else math.nan
    scalars = {"udr_mean": ranks.mean(), "udr_stderr": error, "udr_chance": chance}
    return xr.Dataset({"udr": ("run", ranks), **scalars})
