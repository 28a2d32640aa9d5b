"""Draws as xarray groups, with names for their dimensions and words for their numbers.

A single latent site of vectors has the dimension "latent", a single observed site "pixel"; a grid of either has
"latent_row" and "latent_column", an image with channels also "pixel_channel" in front. Where there are several
sites, the site's name stands before each. A dimension that would have the name of a site ends in "_dim".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.diagnostics.arviz.draw_plan import DrawPlan, Layout
from ppl_vae.diagnostics.arviz.exported import exported_names
from ppl_vae.diagnostics.arviz.leave_one_out import LOO_NOTE

SAMPLE_DIMS = ("chain", "draw", "datum")
MEANING = {
    "khat": "Pareto shape of the tail of the importance weights; NaN where they are all equal or too few",
    "exact": "1 where all weights are equal up to rounding: the guide is the posterior",
    "ess": "effective sample size of the importance weights, (sum w)^2 / sum w^2; not of a Markov chain",
}
GRID = ("channel", "row", "column")


def event_dims(plan: DrawPlan) -> dict[str, tuple[str, ...]]:
    """Name the event dimensions of every site.

    Raises:
        ModelError: a site has a name that ArviZ keeps for itself; it is named.
    """
    derived = {name: event_axes(f"{name}_dim", len(event)) for name, (event, _) in plan.derived.items()}
    found = _named(plan.latent, "latent") | derived | _named(plan.observed, "pixel")
    names = exported_names(found)
    return {name: tuple(_free(dim, names) for dim in dims) for name, dims in found.items()}


def _free(dim: str, names: Mapping[str, str]) -> str:
    """Find a name for a dimension that no variable has."""
    dim = dim.replace("/", ".")
    while dim in names.values():
        dim += "_dim"
    return dim


def _named(layout: Layout, of: str) -> dict[str, tuple[str, ...]]:
    stems = {name: of if len(layout) == 1 else f"{name}_{of}" for name in layout}
    return {name: event_axes(stems[name], len(event)) for name, (event, _) in layout.items()}


def event_axes(stem: str, rank: int) -> tuple[str, ...]:
    """Name the event dimensions of one site: the stem itself of a vector's, with an axis each of more."""
    if rank < 2:
        return (stem,) * rank
    if rank <= len(GRID):
        return tuple(f"{stem}_{axis}" for axis in GRID[-rank:])
    return tuple(f"{stem}_{axis}" for axis in range(rank))


def draws_dataset(
    arrays: Mapping[str, np.ndarray], dims: Mapping[str, tuple[str, ...]], coordinates: Mapping[str, object]
) -> xr.Dataset:
    """Collect draws [chain, draw, datum, *event] by site, every dimension with a coordinate."""
    names = exported_names(arrays)
    variables = {names[name]: ((*SAMPLE_DIMS, *dims[name]), array, _origin(name)) for name, array in arrays.items()}
    return _indexed(variables, coordinates)


def _origin(site: str) -> dict[str, str]:
    """The attribute with the site's own name, where its variable has another."""
    return {"site": site} if "/" in site else {}


def observed_dataset(
    arrays: Mapping[str, np.ndarray], dims: Mapping[str, tuple[str, ...]], coordinates: Mapping[str, object]
) -> xr.Dataset:
    """Collect data [datum, *event] by site."""
    names = exported_names(arrays)
    variables = {names[name]: (("datum", *dims[name]), array, _origin(name)) for name, array in arrays.items()}
    return _indexed(variables, coordinates)


def likelihood_dataset(
    log_likelihood: NDArray[np.float64], plan: DrawPlan, coordinates: Mapping[str, object]
) -> xr.Dataset:
    """Collect log p(x_n | z), with the warning that goes wherever the numbers go.

    It is called after the observed site; where there are several, it is their sum and called after all of them.
    """
    note = {"note": LOO_NOTE, "units": "nats"}
    name = "+".join(exported_names(plan.observed).values())
    table = _indexed({name: (SAMPLE_DIMS, log_likelihood, note)}, coordinates)
    return table.assign_attrs(note)


def weights_dataset(
    log_weight: NDArray[np.float64], per_datum: Mapping[str, NDArray[np.float64]], coordinates: Mapping[str, object]
) -> xr.Dataset:
    """Collect log w [1, S, N] of every draw, and the quality of each datum's weights: khat, exact and ess [N]."""
    described = {name: (("datum",), values, {"description": MEANING[name]}) for name, values in per_datum.items()}
    return _indexed({"log_weight": (SAMPLE_DIMS, log_weight, {"units": "nats"}), **described}, coordinates)


def _indexed(variables: Mapping[str, tuple[object, ...]], coordinates: Mapping[str, Any]) -> xr.Dataset:
    table = xr.Dataset(dict(variables))
    named = {name: given for name, given in coordinates.items() if given[0] in table.sizes}
    return table.assign_coords({name: range(size) for name, size in table.sizes.items()} | named)
