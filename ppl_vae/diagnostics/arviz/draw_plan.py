"""Plan the draws that fit into a memory limit, and the arrays that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppl_vae.checks import whole
from ppl_vae.diagnostics.arviz.exported import data_sites
from ppl_vae.diagnostics.predictive.drawable import require_drawable
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.terms import Observation, Terms

USUAL_SAMPLES, USUAL_REPLICATES = 1000, 100
# log p(x|z) and log w, in double precision.
DENSITY_BYTES = 16
Layout = Mapping[str, tuple[tuple[int, ...], np.dtype]]


@dataclass(frozen=True)
class DrawPlan:
    """The numbers of draws for N data, by group.

    Attributes:
        num_data: N.
        num_samples: S, draws from the guide with their densities.
        num_replicates: P of them also give a replicate of the data; as many are drawn from the prior.
        latent: event shape and dtype of every latent site of the guide.
        prior: the same of the sites that have a prior.
        observed: the same of the observed sites that hold data; a ``pyro.factor`` has no value.
        replicated: the same of their replicates; empty where the model draws no data of their kind.
        derived: the same of what pyro.deterministic computes for every draw and datum.
        why_not: why it draws none.
    """

    num_data: int
    num_samples: int
    num_replicates: int
    latent: Layout
    prior: Layout
    observed: Layout
    replicated: Layout
    derived: Layout
    why_not: str = ""

    def empty(self, layout: Layout, draws: int) -> dict[str, np.ndarray]:
        """Allocate arrays [1, draws, N, *event]."""
        return {name: np.empty((1, draws, self.num_data, *event), dtype) for name, (event, dtype) in layout.items()}


def plan_draws(
    terms: Terms,
    derived: Mapping[str, Tensor],
    x: Tensor,
    num_samples: int | None,
    num_replicates: int | None,
    memory_limit: int,
) -> DrawPlan:
    """Settle the numbers of draws that were left open, and refuse what does not fit into the memory limit.

    Args:
        terms: of a few of the data, for their shapes.
        derived: what pyro.deterministic computed in the same run [K, N, *event].
        x: all data [N, *event_shape].
        num_samples: None takes 1000, or as many as fit.
        num_replicates: None takes 100, or as many as fit into half of what there is.
        memory_limit: bytes, of all the arrays together.

    Raises:
        ModelError: a number is below one or more than fits; both are named.
    """
    samples = whole("num_samples", num_samples, least=2)
    replicates, limit = whole("num_predictive", num_replicates), whole("memory_limit", memory_limit)
    latent = {name: _layout(site.value[0, 0]) for name, site in terms.sites.items()}
    prior = {name: latent[name] for name, site in terms.sites.items() if site.p is not None}
    observed = {name: _layout(data_of(each)[0]) for name, each in data_sites(terms).items()}
    replicated, why_not = _replicated(terms, x)
    computed = {name: _layout(value[0, 0]) for name, value in derived.items()}
    per_sample = len(x) * (_bytes(latent) + _bytes(computed) + DENSITY_BYTES)
    per_replicate = len(x) * (_bytes(prior) + _bytes(computed) + _bytes(replicated))
    room = limit - x.element_size() * x.numel()
    if replicates is None:
        left = room // 2 if samples is None else room - samples * per_sample
        replicates = max(1, min(USUAL_REPLICATES, samples or USUAL_SAMPLES, left // per_replicate))
    allowed = (room - replicates * per_replicate) // per_sample
    asked = max(2, min(USUAL_SAMPLES, allowed)) if samples is None else samples
    if asked > allowed:
        needed = limit - room + asked * per_sample + replicates * per_replicate
        raise ModelError(
            f"num_samples={asked} of {len(x)} data and {replicates} replicates of them need {_size(needed)}, and "
            f"memory_limit allows {_size(limit)}: at most {max(0, allowed)} draws; ask for fewer, give "
            "fewer data, or raise memory_limit"
        )
    if replicates > asked:
        raise ModelError(
            f"num_predictive={replicates} is more than num_samples={asked}; every replicate has a draw"
        )
    return DrawPlan(len(x), asked, replicates, latent, prior, observed, replicated, computed, why_not)


def _layout(value: Tensor) -> tuple[tuple[int, ...], np.dtype]:
    return tuple(value.shape), np.dtype(str(value.dtype).removeprefix("torch."))


def data_of(observation: Observation) -> Tensor:
    """Take the data of a site [N, *event], or [1, *event] where they are one constant; they have no particles.

    What is masked is NaN.
    """
    value, event = observation.value, len(observation.p.event_shape)
    mask = value_mask(observation.p, observation.mask)
    if mask is not None and not mask.all():
        value = torch.where(mask.to(value.device), value.double(), torch.nan)
    return value.unsqueeze(0) if value.dim() == event else value[(0,) * (value.dim() - event - 1)]


def _replicated(terms: Terms, x: Tensor) -> tuple[Layout, str]:
    try:
        require_drawable(terms)
        with torch.no_grad():
            drawn = {name: observation.p.sample() for name, observation in data_sites(terms).items()}
    except DataError as error:
        return {}, str(error)
    except NotImplementedError:
        return {}, f"the likelihood of site {next(iter(terms.observations))!r} cannot be drawn from"
    event = {name: len(terms.observations[name].p.event_shape) for name in drawn}
    return {name: _layout(value[(0,) * (value.dim() - event[name])]) for name, value in drawn.items()}, ""


def _bytes(layout: Layout) -> int:
    return sum(int(np.prod(event)) * dtype.itemsize for event, dtype in layout.values())


def _size(number: int) -> str:
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.3g} MiB"
