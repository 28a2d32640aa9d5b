"""Draws as xarray groups: which dimension is called what, and what the numbers mean.

A single latent site of vectors has the dimension "latent", a single observed site "pixel"; a grid of either has
"latent_row" and "latent_column", an image with channels also "pixel_channel" in front. Where there are several
sites, the site's name stands before each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.diagnostics.draw_plan import DrawPlan, Layout

SAMPLE_DIMS = ("chain", "draw", "datum")
LOO_NOTE = (
    "These are conditional on z, which is inferred from x itself: leave-one-out (loo), waic and loo_pit on them "
    "mean nothing. For a predictive score take ppl_vae.log_evidence on data held out."
)
MEANING = {
    "khat": "Pareto shape of the tail of the importance weights; NaN where they are all equal or too few",
    "exact": "1 where all weights are equal up to rounding: the guide is the posterior",
    "ess": "effective sample size of the importance weights, (sum w)^2 / sum w^2; not of a Markov chain",
}
GRID = ("channel", "row", "column")


def event_dims(plan: DrawPlan) -> dict[str, tuple[str, ...]]:
    """The names of the event dimensions of every site."""
    return _named(plan.latent, "latent") | _named(plan.observed, "pixel")


def _named(layout: Layout, of: str) -> dict[str, tuple[str, ...]]:
    stems = {name: of if len(layout) == 1 else f"{name}_{of}" for name in layout}
    return {name: _event(stems[name], len(event)) for name, (event, _) in layout.items()}


def _event(stem: str, rank: int) -> tuple[str, ...]:
    if rank < 2:
        return (stem,) * rank
    if rank <= len(GRID):
        return tuple(f"{stem}_{axis}" for axis in GRID[-rank:])
    return tuple(f"{stem}_{axis}" for axis in range(rank))


def draws_dataset(
    arrays: Mapping[str, NDArray[Any]], dims: Mapping[str, tuple[str, ...]], coordinates: Mapping[str, Any]
) -> xr.Dataset:
    """Draws [chain, draw, datum, *event] by site, every dimension with a coordinate."""
    return _indexed({name: ((*SAMPLE_DIMS, *dims[name]), array) for name, array in arrays.items()}, coordinates)


def observed_dataset(
    arrays: Mapping[str, NDArray[Any]], dims: Mapping[str, tuple[str, ...]], coordinates: Mapping[str, Any]
) -> xr.Dataset:
    """Data [datum, *event] by site."""
    return _indexed({name: (("datum", *dims[name]), array) for name, array in arrays.items()}, coordinates)


def likelihood_dataset(
    log_likelihood: NDArray[np.float64], plan: DrawPlan, coordinates: Mapping[str, Any]
) -> xr.Dataset:
    """log p(x_n | z), with the warning that goes wherever the numbers go.

    It is called after the observed site; where there are several, it is their sum and called after all of them.
    """
    note = {"note": LOO_NOTE, "units": "nats"}
    table = _indexed({"+".join(plan.observed): (SAMPLE_DIMS, log_likelihood, note)}, coordinates)
    return table.assign_attrs(note)


def weights_dataset(
    log_weight: NDArray[np.float64], per_datum: Mapping[str, NDArray[np.float64]], coordinates: Mapping[str, Any]
) -> xr.Dataset:
    """log w [1, S, N] of every draw, and what the weights of a datum are worth: khat, exact and ess [N]."""
    described = {name: (("datum",), values, {"description": MEANING[name]}) for name, values in per_datum.items()}
    return _indexed({"log_weight": (SAMPLE_DIMS, log_weight, {"units": "nats"}), **described}, coordinates)


def _indexed(variables: Mapping[str, tuple[Any, ...]], coordinates: Mapping[str, Any]) -> xr.Dataset:
    table = xr.Dataset(dict(variables))
    return table.assign_coords({name: range(size) for name, size in table.sizes.items()} | dict(coordinates))
