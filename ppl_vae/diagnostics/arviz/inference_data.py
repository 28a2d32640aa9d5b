"""The function ``inference_data``: draws from prior, guide and likelihood with their densities, for ArviZ.

    posterior              z ~ q(z | x_n), with what pyro.deterministic makes of it
                                                             [chain, draw, datum, latent]
    prior                  z ~ p(z)                          the same site, fewer draws
    posterior_predictive   x_rep ~ p(x | z), z ~ q(z | x_n)  [chain, draw, datum, pixels]
    log_likelihood         log p(x_n | z)                    [chain, draw, datum], nats
    sample_stats           log w; khat, ess                  [chain, draw, datum]; [datum]
    observed_data          x                                 [datum, pixels]

Draws from a guide are independent: there is one chain, and R-hat says nothing about them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import torch
import xarray as xr
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import whole
from ppl_vae.containers import Data, Labels
from ppl_vae.declared import declared
from ppl_vae.diagnostics.arviz import container
from ppl_vae.diagnostics.arviz.container import ArvizData
from ppl_vae.diagnostics.arviz.draw_groups import (
    draws_dataset,
    event_dims,
    likelihood_dataset,
    observed_dataset,
    weights_dataset,
)
from ppl_vae.diagnostics.arviz.draw_plan import USUAL_SAMPLES, DrawPlan, data_of, plan_draws
from ppl_vae.diagnostics.arviz.exported import Derived
from ppl_vae.diagnostics.arviz.whole_data import whole_groups
from ppl_vae.diagnostics.given import admitted, needs_all_sites
from ppl_vae.diagnostics.importance.importance import LEAST_SAMPLES, ROUNDING
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.evidence.pareto import smooth
from ppl_vae.inference.evidence.weight_chunks import pass_size
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.trace import run_model
from ppl_vae.randomness import derived_seed

MEMORY_LIMIT = 4 << 30
# Draws of the first data, for shapes: another number than that of the data, so that neither is taken for the other.
PROBES = 3
# The name of this file's stream under a seed.
STREAM = 50


@torch.no_grad()
def inference_data(
    pair: PairLike,
    x: Data,
    num_samples: int | None = None,
    y: Array | None = None,
    memory_limit: int = MEMORY_LIMIT,
    *,
    num_predictive: int | None = None,
    data_name: str | None = None,
    binarization: str | None = None,
    seed: int = 0,
) -> ArvizData:
    """Draw from a fitted pair all that ArviZ's summaries and plots need.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape]; with covariates a tuple (x, c1, ..., cm) or a dict of named arrays
            (``inference.pair.covariates``).
        num_samples: draws from the guide per datum; None takes 1000, or as many as fit.
        y: a label per datum [N], kept as the coordinate "label"; of a pair that needs it also its covariate.
        memory_limit: bytes of main memory that all arrays may take together.
        num_predictive: replicates of every datum, and draws from the prior; they belong to the first draws. None
            takes 100, or as many as fit.
        data_name: what x is called, for the attributes.
        binarization: how x was binarised, for the attributes.
        seed: of the draws; torch's global generators are left as they were.

    Returns:
        The installed ArviZ's container (see ``diagnostics.arviz.container``) with the groups above. k-hat is NaN
        where ``exact`` is set: equal weights have no tail. The group posterior_predictive is left out where the
        model draws no data of the kind that it was given, and the attributes say why. Of a pair with global sites,
        or with plates inside a datum, every draw is one of all data (``diagnostics.arviz.whole_data``): a global
        site has no dimension "datum", and a plate gives its name to a dimension.

    Raises:
        ModelError: the pair is refused, or the draws need more memory than allowed.
        DataError: x is empty, the likelihood has no density for some value, or there is not one label per datum.

    >>> import torch
    >>> import ppl_vae as pv
    >>> vae = pv.VAE((4,), latent_dim=2, likelihood="gaussian")
    >>> idata = inference_data(vae, torch.zeros(3, 4), num_samples=10)
    >>> dict(idata.posterior["z"].sizes)
    {'chain': 1, 'draw': 10, 'datum': 3, 'latent': 2}
    """
    given = admitted(pair, x, y=y)
    (model, guide), data = given.programs, given.x
    coordinates = _labels(y, len(data))
    names, about = given.labels, {"data": data_name, "binarization": binarization}
    num_samples = whole("num_samples", num_samples, least=2)
    if needs_all_sites(given, seed):
        return _of_whole(given, num_samples, num_predictive, memory_limit, seed, coordinates, about)
    with evaluating(model, guide, seed=derived_seed(seed, STREAM), device=data.device):
        few = given[: pass_size(data, num_samples or USUAL_SAMPLES)[0]]
        with Derived() as derived:
            terms = run_terms(model, guide, few.batch, {}, PROBES)
        computed = derived.per_draw(PROBES, len(few))
        plan = plan_draws(terms, computed, data, num_samples, num_predictive, memory_limit)
        event_dims(plan)
    store = _Store(plan)
    per_pass, draws = pass_size(data, plan.num_samples)
    for first in range(0, len(data), per_pass):
        with evaluating(model, guide, seed=derived_seed(seed, STREAM, first), device=data.device):
            store.fill(given[first : first + per_pass], first, draws)
    numbers = {
        "num_samples": plan.num_samples,
        "num_predictive": plan.num_replicates,
        "why_no_posterior_predictive": plan.why_not or None,
    }
    attributes = _attributes(model, numbers, seed, about)
    return container.build(store.groups(coordinates | _names(names, plan)), attributes)


def _of_whole(
    given: Conditioned,
    num_samples: int | None,
    num_predictive: int | None,
    memory_limit: int,
    seed: int,
    coordinates: Mapping[str, object],
    about: Mapping[str, str | None],
) -> ArvizData:
    """Build the ArviZ object of a pair with global sites, every draw of which is one of all data."""
    rows = {} if given.labels.rows is None else {"datum": ("datum", given.labels.rows)}
    stream, predictive = derived_seed(seed, STREAM), whole("num_predictive", num_predictive)
    groups, numbers = whole_groups(
        given, num_samples, predictive, memory_limit, stream, {**coordinates, **rows}, given.labels.axes
    )
    return container.build(groups, _attributes(given.programs[0], numbers, seed, about))


class _Store:
    """The arrays of draws, filled batch by batch."""

    def __init__(self, plan: DrawPlan) -> None:
        self.plan = plan
        self.posterior = plan.empty({**plan.latent, **plan.derived}, plan.num_samples)
        self.prior = plan.empty({**plan.prior, **plan.derived}, plan.num_replicates)
        self.replicated = plan.empty(plan.replicated, plan.num_replicates)
        self.observed = {name: array[0, 0] for name, array in plan.empty(plan.observed, 1).items()}
        self.log_likelihood, self.log_weight = np.empty((2, 1, plan.num_samples, plan.num_data))
        self.magnitude = np.zeros(plan.num_data)
        self.per_datum = {name: np.empty(plan.num_data) for name in ("khat", "exact", "ess")}
        self.eps, self.is_point = 0.0, False

    def fill(self, batch: Conditioned, first: int, draws: int) -> None:
        """Fill in all draws of a batch, ``draws`` at a time; its first datum is number ``first`` of all."""
        plan, data = self.plan, slice(first, first + len(batch))
        edges = sorted({*range(0, plan.num_samples, draws), plan.num_replicates, plan.num_samples})
        for start, stop in itertools.pairwise(edges):
            where = slice(start, stop)
            with Derived() as derived:
                terms = run_terms(*batch.programs, batch.batch, {}, stop - start)
            self._keep(terms, where, data)
            self._derive(self.posterior, derived, where, data)
            if stop <= plan.num_replicates:
                _put(
                    self.replicated,
                    {name: terms.observations[name].p.sample() for name in self.replicated},
                    where,
                    data,
                )
                with Derived() as derived:
                    latent, *_ = run_model(batch.model, (batch.x,), stop - start, Messenger())
                _put(self.prior, {name: latent[name]["value"] for name in plan.prior}, where, data)
                self._derive(self.prior, derived, where, data)
        self._judge(data)

    def _derive(self, arrays: Mapping[str, np.ndarray], derived: Derived, draws: slice, data: slice) -> None:
        found = derived.per_draw(draws.stop - draws.start, data.stop - data.start)
        missing = [name for name in self.plan.derived if name not in found]
        if missing:
            raise ModelError(f"site {missing[0]!r}: its value has one entry per draw and datum in some runs only")
        _put(arrays, {name: found[name] for name in self.plan.derived}, draws, data)

    def _keep(self, terms: Terms, draws: slice, data: slice) -> None:
        for name in self.observed:
            self.observed[name][data] = data_of(terms.observations[name]).cpu().numpy()
        _put(self.posterior, {name: site.value for name, site in terms.sites.items()}, draws, data)
        self.log_likelihood[0, draws, data] = terms.log_likelihood.double().cpu()
        self.log_weight[0, draws, data] = terms.log_weight.double().cpu()
        magnitude = terms.log_likelihood.abs() + terms.log_prior.abs() + terms.log_guide.abs()
        self.magnitude[data] += magnitude.double().sum(0).cpu().numpy() / self.plan.num_samples
        self.eps = torch.finfo(terms.log_likelihood.dtype).eps
        self.is_point = any(site.is_point for site in terms.sites.values())

    def _judge(self, data: slice) -> None:
        """Judge the importance weights of a batch by k-hat and effective sample size."""
        log_weight = self.log_weight[0, :, data]
        # Less the largest: numpy's sum over thousands of draws rounds by more than weights that are equal differ.
        below = log_weight - log_weight.max(0)
        weight = np.exp(below)
        exact = below.std(0) <= ROUNDING * self.eps * self.magnitude[data]
        if self.is_point:
            # Weights of one value are equal under any posterior.
            exact[:] = False
        khat = np.full(exact.shape, np.nan)
        if not self.is_point and len(log_weight) >= LEAST_SAMPLES:
            khat = np.where(exact, np.nan, smooth(torch.from_numpy(log_weight)).khat.numpy())
        self.per_datum["ess"][data] = weight.sum(0) ** 2 / (weight**2).sum(0)
        self.per_datum["khat"][data], self.per_datum["exact"][data] = khat, exact

    def groups(self, coordinates: Mapping[str, object]) -> dict[str, xr.Dataset]:
        """Collect the groups of the ArviZ object."""
        dims = event_dims(self.plan)
        groups = {
            "posterior": draws_dataset(self.posterior, dims, coordinates),
            "prior": draws_dataset(self.prior, dims, coordinates),
            "posterior_predictive": draws_dataset(self.replicated, dims, coordinates),
            "log_likelihood": likelihood_dataset(self.log_likelihood, self.plan, coordinates),
            "observed_data": observed_dataset(self.observed, dims, coordinates),
            "sample_stats": weights_dataset(self.log_weight, self.per_datum, coordinates),
        }
        return {name: group for name, group in groups.items() if group.data_vars}


def _put(arrays: Mapping[str, np.ndarray], values: Mapping[str, Tensor], draws: slice, data: slice) -> None:
    for name, value in values.items():
        # One particle may come without a dimension of its own; a distribution may not depend on z.
        arrays[name][0, draws, data] = value.cpu().numpy()


def _labels(labels: Array | None, num_data: int) -> dict[str, object]:
    if labels is None:
        return {}
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.shape != (num_data,):
        raise DataError(f"y: expected a label per datum, shape [{num_data}], found {list(values.shape)}")
    return {"label": ("datum", values)}


@dataclass(frozen=True)
class _Observed:
    """The optional attribute of a program by which it says what its likelihood is."""

    likelihood: object = None


@dataclass(frozen=True)
class _Named:
    """The optional attribute of a likelihood by which it says its name."""

    name: str | None = None


def _names(labels: Labels, plan: DrawPlan) -> dict[str, object]:
    """The names of rows and columns, as coordinates of "datum" and of the dimensions of observed data."""
    found: dict[str, object] = {} if labels.rows is None else {"datum": ("datum", labels.rows)}
    dims = event_dims(plan)
    for name, (event, _) in plan.observed.items():
        for dim, size, axis in zip(dims[name], event, labels.axes, strict=False):
            if axis is not None and len(axis) == size:
                found[dim] = (dim, axis)
    return found


def _attributes(
    model: Program, numbers: Mapping[str, object], seed: int, given: Mapping[str, str | None]
) -> dict[str, object]:
    likelihood = declared(_Named, declared(_Observed, model).likelihood).name
    found = {
        "created_with": f"ppl_vae {metadata.version('ppl_vae')}",
        "seed": seed,
        "likelihood": likelihood,
        **numbers,
        **given,
    }
    return {name: value for name, value in found.items() if value is not None}
