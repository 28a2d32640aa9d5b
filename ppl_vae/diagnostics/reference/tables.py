"""Tables of draws: those of chains beside those of the guide, by datum, with the distances between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.diagnostics.arviz.container import ess, rhat
from ppl_vae.diagnostics.reference import distances
from ppl_vae.diagnostics.reference.two_sample_classifier import classifier_accuracies
from ppl_vae.errors import ModelError
from ppl_vae.randomness import derived_seed

# Draws of each set that the distances are taken from.
MOST_COMPARED = 1000
# Draws of each set that the classifiers of all data see together, at least so many of one datum, and of how many
# data at a time.
ALL_COMPARED, LEAST_COMPARED, SETS_AT_ONCE = 40_000, 200, 100
DISTANCES = {
    "mean_difference": "largest difference of means, in posterior standard deviations",
    "covariance_difference": "of the covariances, Frobenius norm in whitened coordinates; NaN for too few draws",
    "gaussian_w2": "2-Wasserstein distance of the Gaussians with these moments",
    "sliced_wasserstein": "sliced 2-Wasserstein distance",
    "c2st": "cross-validated accuracy of a classifier, 0.5 where they cannot be told apart",
    "c2st_stderr": "of c2st",
    "mmd": "squared maximum mean discrepancy, U-statistic",
    "mmd_stderr": "of mmd if there were no difference",
}
# Names that a site may not have beside them.
OWN = {
    "chain", "draw", "datum", "guide_draw", "rhat", "ess", "divergences", "acceptance", "num_leapfrog", "gradients",
    *DISTANCES,
}  # fmt: skip


def draws_tables(
    values: Mapping[str, np.ndarray],
    guided: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    sites: Collection[str],
) -> list[xr.Dataset]:
    """Collect the draws of every datum, the guide's, and the distances between them.

    Args:
        values: of every datum by site [N, chain, draw, *event].
        guided: likewise, of the guide [N, draw, *event].
        facts: further numbers of every datum by name [N].
        sites: the names of all sites of the model, which the names of dimensions depend on.

    Raises:
        ModelError: a site has the name of a number of the table; it is named.
    """
    for name in values:
        if name in OWN or name.startswith("guide_"):
            raise ModelError(f"site {name!r}: the table keeps that name for a number of its own; rename the site")
    flat, flat_guided = _flat(values, 3), _flat({name: guided[name] for name in values}, 2)
    worst, least = _convergence(flat)
    tables = []
    for index in range(len(flat)):
        numbers = {"rhat": worst[index], "ess": least[index], **{name: each[index] for name, each in facts.items()}}
        measured = _distances(flat_guided[index], flat[index], float(least[index]))
        variables: dict[str, object] = {name: ((), value) for name, value in numbers.items()}
        variables |= {name: ((), value, {"description": DISTANCES[name]}) for name, value in measured.items()}
        tables.append(xr.Dataset(_draws(values, guided, index, sites) | variables))
    return tables


def _draws(
    values: Mapping[str, np.ndarray], guided: Mapping[str, np.ndarray], index: int, sites: Collection[str]
) -> dict[str, object]:
    """The draws of one datum by site, and those of the guide, each with its dimensions."""
    variables: dict[str, object] = {}
    for name, draws in values.items():
        event = _event_dims(name, draws.ndim - 3, sites)
        variables[name] = (("chain", "draw", *event), draws[index])
        variables[f"guide_{name}"] = (("guide_draw", *event), guided[name][index])
    return variables


def _event_dims(name: str, dims: int, sites: Collection[str]) -> list[str]:
    stem = "latent" if len(sites) == 1 else f"{name}_latent"
    while stem in sites:
        stem += "_dim"
    return [stem] if dims == 1 else [f"{stem}_{index}" for index in range(dims)]


def _flat(draws: Mapping[str, np.ndarray], batch_dims: int) -> NDArray[np.float64]:
    """Join the coordinates of all sites side by side: [*batch, U]."""
    return np.concatenate([each.reshape(*each.shape[:batch_dims], -1) for each in draws.values()], -1)


def _convergence(draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest R-hat and the smallest effective sample size over coordinates of draws [N, chain, draw, U]: [N].

    What is one number in all chains, as the zeros of a triangular matrix are, says nothing of them, unless all is.
    """
    moves = distances.moving(draws.reshape(len(draws), -1, draws.shape[-1]))
    counts = moves | ~moves.any(1, keepdims=True)
    by_coordinate = np.moveaxis(draws, 0, 2)
    # Chains that have not moved have no variance to divide by: infinite or NaN, which is not settled.
    with np.errstate(divide="ignore", invalid="ignore"):
        worst, least = rhat(by_coordinate), ess(by_coordinate)
    return np.where(counts, worst, -np.inf).max(1), np.where(counts, least, np.inf).min(1)


def _distances(guided: NDArray[np.float64], chains: NDArray[np.float64], worth: float) -> dict[str, float]:
    """Compute the distances of one datum but for the classifier's, which are found for many data at once."""
    pooled = chains.reshape(-1, chains.shape[-1])
    thinned = _thinned(chains, _worth(worth, len(pooled)))
    mmd, mmd_error = distances.kernel_discrepancy(guided[: len(thinned)], thinned)
    moments: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "mean_difference": distances.mean_difference,
        "covariance_difference": distances.covariance_difference,
        "gaussian_w2": distances.wasserstein_of_moments,
        "sliced_wasserstein": distances.sliced_wasserstein,
    }
    # Moments of all draws are better known than those of the thinned ones.
    known = {name: distance(guided, pooled) for name, distance in moments.items()}
    return known | {"mmd": mmd, "mmd_stderr": mmd_error}


def _worth(effective: float, most: int) -> int:
    """The number of draws of chains that are nearly independent."""
    return int(np.clip(effective if math.isfinite(effective) else 0, 20, min(MOST_COMPARED, most)))


def _thinned(chains: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    pooled = chains.reshape(-1, chains.shape[-1])
    return pooled[np.linspace(0, len(pooled) - 1, count).round().astype(int)]


def with_c2st(table: xr.Dataset, seed: int) -> xr.Dataset:
    """Add the classifier two-sample test of every datum, from nearly independent draws."""
    sites = [str(name) for name in table.data_vars if f"guide_{name}" in table]
    num_data = table.sizes["datum"]
    most = int(np.clip(ALL_COMPARED // num_data, LEAST_COMPARED, MOST_COMPARED))
    results: list[NDArray[np.float64]] = []
    for first in range(0, num_data, SETS_AT_ONCE):
        part = table.isel(datum=slice(first, first + SETS_AT_ONCE))
        chains = _flat({name: part[name].to_numpy() for name in sites}, 3)
        guided = _flat({name: part[f"guide_{name}"].to_numpy() for name in sites}, 2)
        total = chains.shape[1] * chains.shape[2]
        counts = [min(_worth(float(worth), total), most) for worth in part["ess"]]
        sets = np.zeros((2, len(counts), max(counts), chains.shape[-1]), dtype=np.float32)
        for index, count in enumerate(counts):
            sets[0, index, :count], sets[1, index, :count] = guided[index, :count], _thinned(chains[index], count)
        pair = torch.from_numpy(sets)
        accuracies = classifier_accuracies(pair[0], pair[1], torch.tensor(counts), seed=derived_seed(seed, first))
        results.append(torch.stack(accuracies).numpy())
    for name, values in zip(("c2st", "c2st_stderr"), np.concatenate(results, 1), strict=True):
        table[name] = ("datum", values, {"description": DISTANCES[name]})
    return table
