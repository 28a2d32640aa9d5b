"""Draws of pairs with global sites for ArviZ: every draw is one of the whole data set.

    posterior      g ~ q(g), z_n ~ q(z_n | x_n, g)     [chain, draw, plates of g]; [chain, draw, datum, ...]
    prior          g, z ~ p(g, z)                      the same sites, fewer draws
    posterior_predictive   x_rep ~ p(x | z, g)         [chain, draw, datum, ...]
    log_likelihood log p(x_n | z_n, g)                 [chain, draw, datum], nats
    sample_stats   log p(x, z, g) - log q(z, g)        [chain, draw], nats, of all data together

A plate of a site other than the data's gives its name to a dimension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.containers.labels import Axes
from ppl_vae.diagnostics.arviz.draw_groups import event_axes
from ppl_vae.diagnostics.arviz.draw_plan import USUAL_REPLICATES, USUAL_SAMPLES, data_of
from ppl_vae.diagnostics.arviz.exported import data_sites, exported_names
from ppl_vae.diagnostics.arviz.leave_one_out import LOO_NOTE
from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.weight_chunks import pass_size
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.global_draws import FEWEST
from ppl_vae.inference.pair.learned import PLAIN, recall
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Observation, Terms
from ppl_vae.inference.pair.whole_model import WholeRun, run_whole
from ppl_vae.randomness import derived_seed

NUMBER_BYTES = 8
CHAIN_AND_DRAW = ("chain", "draw")
WEIGHT_NOTE = "of all latents together; run_global_importance weighs the global ones alone"
Arrays = Mapping[str, np.ndarray]


def whole_groups(
    given: Conditioned,
    num_samples: int | None,
    num_predictive: int | None,
    memory_limit: int,
    stream: int,
    coordinates: Mapping[str, object],
    axes: Axes = (),
) -> tuple[dict[str, xr.Dataset], dict[str, int | str | None]]:
    """Draw the groups of the ArviZ object, and the numbers of draws for its attributes.

    Args:
        given: the pair and all its data.
        num_samples: draws from the guide; None takes 1000, or as many as fit.
        num_predictive: replicates, and draws from the prior; None takes 100 at most.
        memory_limit: bytes that all arrays may take together.
        stream: the seed of the draws.
        coordinates: of the dimension "datum".
        axes: the names along the event dimensions of the data.

    Raises:
        ModelError: the pair is refused, or the draws need more memory than allowed.
    """
    with evaluating(*given.programs, seed=derived_seed(stream, 0), device=given.x.device):
        probe = _Pass.of(given, FEWEST, True)
    samples, replicates = _numbers(probe, num_samples, num_predictive, memory_limit)
    parts: list[_Pass] = []
    at_once = max(FEWEST, math.prod(pass_size(given.x, samples)) // len(given))
    left = samples
    while left > 0:
        count = min(left, at_once) if left != at_once + 1 else at_once + 1
        with evaluating(*given.programs, seed=derived_seed(stream, 1, left), device=given.x.device):
            parts.append(_Pass.of(given, max(FEWEST, count), samples - left < replicates))
        left -= count
    dims = _dims(probe)
    coordinates = {**coordinates, **_names(probe, dims, axes)}
    groups = {
        "posterior": _dataset([part.posterior for part in parts], dims, samples, coordinates),
        "prior": _dataset([part.prior for part in parts], dims, replicates, coordinates),
        "posterior_predictive": _dataset([part.replicated for part in parts], dims, replicates, coordinates),
        "log_likelihood": _dataset([part.log_likelihood for part in parts], dims, samples, coordinates, LOO_NOTE),
        "sample_stats": _dataset([part.log_weight for part in parts], dims, samples, coordinates, WEIGHT_NOTE),
        "observed_data": _observed(probe, dims, coordinates),
    }
    numbers = {"num_samples": samples, "num_predictive": replicates, "why_no_posterior_predictive": probe.why_not}
    return {name: group for name, group in groups.items() if group.data_vars}, numbers


@dataclass(frozen=True)
class _Pass:
    """Some draws: arrays [K, N, *further plates, *event] by site, without N of global sites."""

    run: WholeRun
    observations: Mapping[str, Observation]
    posterior: Arrays
    prior: Arrays
    replicated: Arrays
    log_likelihood: Arrays
    log_weight: Arrays
    why_not: str | None

    @staticmethod
    def of(given: Conditioned, count: int, replicate: bool) -> _Pass:
        """Run the pair, and the model alone where there are to be replicates."""
        terms = run_terms(*given.programs, given.batch, {}, count, both_levels=True)
        known = recall(*given.programs) or PLAIN
        run = run_whole(given.model, given.x, count, Messenger(), known.nesting, known.group_plates)
        whole = run.levels.whole
        replicated, why_not = _replicated(terms) if replicate else ({}, None)
        names = "+".join(data_sites(terms))
        return _Pass(
            run,
            data_sites(terms),
            _arrays(run.ordered(terms.drawn), whole),
            _arrays(run.ordered({n: node["value"] for n, node in run.latent.items()}), whole) if replicate else {},
            replicated,
            {names: terms.log_likelihood.double().cpu().numpy()},
            {"log_weight": _joint_weight(terms).double().cpu().numpy()},
            why_not,
        )


def _joint_weight(terms: Terms) -> Tensor:
    local = terms.log_likelihood if terms.coupling is not None else terms.log_weight
    return local.sum(1) + (0.0 if terms.whole is None else terms.whole.log_weight.squeeze(1))


def _arrays(values: Mapping[str, Tensor], whole: frozenset[str]) -> Arrays:
    """In main memory, without the one datum of the global sites."""
    return {
        name: (value.squeeze(1) if name in whole else value).detach().cpu().numpy()
        for name, value in values.items()
    }


def _replicated(terms: Terms) -> tuple[Arrays, str | None]:
    found = {}
    for name, site in data_sites(terms).items():
        try:
            drawn = site.p.sample()
        except NotImplementedError:
            return {}, f"the likelihood of site {name!r} cannot be drawn from"
        standing, event_dim = site.standing, len(site.p.event_shape)
        found[name] = (drawn if standing is None else standing.in_order(drawn, event_dim)).cpu().numpy()
    return found, None


def _numbers(probe: _Pass, samples: int | None, replicates: int | None, limit: int) -> tuple[int, int]:
    """Settle the numbers of draws that were left open, and refuse what does not fit."""

    def size(*groups: Arrays) -> int:
        return sum(array[0].size for arrays in groups for array in arrays.values()) * NUMBER_BYTES

    per_sample = size(probe.posterior, probe.log_likelihood, probe.log_weight)
    per_replicate = size(probe.prior, probe.replicated)
    if replicates is None:
        replicates = max(FEWEST, min(USUAL_REPLICATES, samples or USUAL_SAMPLES, limit // (2 * per_replicate)))
    allowed = (limit - replicates * per_replicate) // per_sample
    asked = max(FEWEST, min(USUAL_SAMPLES, allowed)) if samples is None else samples
    if asked > allowed:
        raise ModelError(
            f"num_samples={asked} draws of all data and {replicates} replicates need more than memory_limit: "
            f"at most {max(0, allowed)} draws; ask for fewer, give fewer data, or raise memory_limit"
        )
    if replicates > asked:
        raise ModelError(
            f"num_predictive={replicates} is more than num_samples={asked}; every replicate has a draw"
        )
    return asked, replicates


def _dims(probe: _Pass) -> dict[str, tuple[str, ...]]:
    """Name the dimensions of every array behind chain and draw."""
    run, names = probe.run, exported_names([*probe.posterior, *probe.replicated])
    found: dict[str, tuple[str, ...]] = {"log_weight": ()}
    for name in {**run.latent, **run.observed}:
        array = probe.posterior.get(name, probe.replicated.get(name))
        plates = [each.replace("/", ".") for each in run.further_plates(name)]
        data = [] if name in run.levels.whole else ["datum"]
        rank = 0 if array is None else array.ndim - 1 - len(plates) - len(data)
        taken = set(names.values())
        stem = names.get(name, name)
        event = event_axes(stem if rank > 1 else f"{stem}_dim", rank)
        found[name] = tuple(f"{dim}_dim" if dim in taken else dim for dim in (*data, *plates, *event))
    return found


def _names(probe: _Pass, dims: Mapping[str, tuple[str, ...]], axes: Axes) -> dict[str, object]:
    """The names along event dimensions of observed data, as coordinates of these."""
    found: dict[str, object] = {}
    for name, site in probe.observations.items():
        event = tuple(site.p.event_shape)
        for dim, size, axis in zip(dims[name][len(dims[name]) - len(event) :], event, axes, strict=False):
            if axis is not None and len(axis) == size:
                found[dim] = (dim, axis)
    return found


def _dataset(
    parts: list[Arrays],
    dims: Mapping[str, tuple[str, ...]],
    count: int,
    coordinates: Mapping[str, object],
    note: str | None = None,
) -> xr.Dataset:
    arrays = {name: np.concatenate([p[name] for p in parts if name in p])[:count] for name in parts[0]}
    names = exported_names(arrays)
    attributes = {} if note is None else {"note": note, "units": "nats"}
    variables = {}
    for name, array in arrays.items():
        own = dims[name] if note is None or name == "log_weight" else ("datum",)
        variables[names[name]] = ((*CHAIN_AND_DRAW, *own), array[np.newaxis], attributes)
    return _indexed(xr.Dataset(variables, attrs=attributes), coordinates)


def _observed(probe: _Pass, dims: Mapping[str, tuple[str, ...]], coordinates: Mapping[str, object]) -> xr.Dataset:
    names, variables = exported_names(probe.observations), {}
    for name, site in probe.observations.items():
        value, event = site.value, site.p.event_shape
        if site.standing is None:
            value = data_of(site)
        else:
            value = site.standing.in_order(value.expand(*site.standing.batch, *event), len(event))[0]
        if name in probe.run.levels.whole:
            value = value.squeeze(0)
        variables[names[name]] = (dims[name], value.cpu().numpy())
    return _indexed(xr.Dataset(variables), coordinates)


def _indexed(table: xr.Dataset, coordinates: Mapping[str, Any]) -> xr.Dataset:
    named = {name: given for name, given in coordinates.items() if given[0] in table.sizes}
    return table.assign_coords({name: range(size) for name, size in table.sizes.items()} | named)
