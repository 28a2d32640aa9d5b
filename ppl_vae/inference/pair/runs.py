"""Terms from programs: one run of a pair at the guide's own draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args, overload

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.admission import as_arguments
from ppl_vae.inference.pair.densities import log_density
from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.levels import ALONE, Standing, ordered_value
from ppl_vae.inference.pair.pair import PairLike, called_with
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.scales import is_scaled
from ppl_vae.inference.pair.supports import require_data_in_support
from ppl_vae.inference.pair.terms import Gradient, Observation, Site, Terms, per_datum
from ppl_vae.inference.pair.trace import PairRun, run_pair
from ppl_vae.inference.pair.validity import require_valid


@overload
def trace_terms(
    pair: PairLike,
    x: Data,
    *args: object,
    num_particles: int = 1,
    gradient: Gradient = "total",
    **kwargs: object,
) -> Terms: ...


@overload
def trace_terms(
    model: Program,
    guide: Program,
    x: Data,
    *args: object,
    num_particles: int = 1,
    gradient: Gradient = "total",
    **kwargs: object,
) -> Terms: ...


def trace_terms(*args: object, num_particles: int = 1, gradient: Gradient = "total", **kwargs: object) -> Terms:
    """Run guide and model once on x and return every density per datum.

    It is called as trace_terms(pair, x, ...) or as trace_terms(model, guide, x, ...).

    Args:
        *args: the pair, or the two programs; x, the data and the programs' first argument; and their further
            arguments. The programs are called as model(x, *args, **kwargs) and guide(x, *args, **kwargs).
        num_particles: K draws per datum, vectorised in a plate to the left of the user's own (none where K is 1).
        gradient: the dependence of the terms on the guide's parameters; see the top of this file.
        **kwargs: further keyword arguments of both programs.

    Returns:
        By site the value [K, N, *event] with its q and p; log_likelihood, log_prior, log_guide and log_weight
        [K, N], in nats; of the global sites, if there are any, the same [K, 1] as ``whole``.

    Raises:
        ModelError: the pair has no densities per datum; the site is named.
        DataError: the model has a ``check_data`` and refuses x.

    >>> import torch
    >>> import ppl_vae as pv
    >>> vae = pv.VAE((4,), latent_dim=2, likelihood="gaussian")
    >>> terms = trace_terms(vae, torch.zeros(5, 4), num_particles=3)
    >>> terms.log_weight.shape, terms.sites["z"].value.shape
    (torch.Size([3, 5]), torch.Size([3, 5, 2]))
    """
    if gradient not in get_args(Gradient):
        raise ModelError(f"gradient must be one of {', '.join(get_args(Gradient))}, got {gradient!r}")
    pair, x, further, named = called_with(args, kwargs)
    pair, given, named = as_arguments(pair, x, further, named)
    return run_terms(pair.model, pair.guide, given, named, num_particles, gradient, as_loss=True)


def run_terms(
    model: Program,
    guide: Program,
    args: tuple[object, ...],
    kwargs: Mapping[str, object] | None = None,
    num_particles: int = 1,
    gradient: Gradient = "total",
    draw_handler: Messenger | None = None,
    as_loss: bool = False,
    share_draws: int = 1,
    num_total: float | None = None,
    both_levels: bool = False,
) -> Terms:
    """Run ``trace_terms`` for reported numbers: of the unscaled model, over every datum of the first argument.

    Args:
        model: the generative program.
        guide: its guide.
        args: what both are run on.
        kwargs: likewise.
        num_particles: K.
        gradient: as in ``trace_terms``.
        draw_handler: draws some of the guide's sites itself (see ``inference.estimators.discrete``).
        as_loss: the inside of a training step: the user's own scales are left in, a plate may take some of the
            data,
            and no value is looked at.
        share_draws: the particles in a row that have one draw of the global sites.
        num_total: the number of data that the global sites belong to, where the data plate does not say it.
        both_levels: whether the caller reads ``whole``, and sites in plates of any kind. One that asks about each
            datum alone does not.

    Raises:
        ModelError: the pair is refused; or it has global sites and the caller asks about each datum alone.
    """
    run = run_pair(
        model, guide, args, kwargs or {}, num_particles, gradient, draw_handler, not as_loss, share_draws
    )
    shared = share_draws if num_particles > 1 else 1
    if as_loss:
        return terms_of(run, num_particles, num_total, shared)
    if run.levels.whole and not both_levels:
        raise ModelError(
            f"site {_first_global(run)!r} is global: it stands outside the data plate, and this asks about each "
            "datum by itself, which has no density of its own but given that site"
        )
    if not both_levels and (elsewhere := _elsewhere(run)):
        raise ModelError(f"site {elsewhere!r} stands in further plates, or not at dim -1: {ALONE}")
    terms = terms_of(run, num_particles, num_total, shared).unscaled()
    require_valid(model, guide, args, kwargs or {}, terms)
    return terms


def _elsewhere(run: PairRun) -> str | None:
    """The first site that stands in other plates than the data's alone at dim -1; None where there is none."""
    for name, standing in run.levels.standings.items():
        if standing.data_dim != -1 or standing.summed:
            return name
    return None


def _first_global(run: PairRun) -> str:
    sites = {**run.model_sites, **run.guide_sites, **run.observed}
    return next(name for name in sites if name in run.levels.whole)


def terms_of(run: PairRun, num_particles: int, num_total: float | None = None, share_draws: int = 1) -> Terms:
    """The densities of a run."""
    levels = run.levels
    # A data plate that stands for more data than it holds says itself how many they are.
    silent = levels.full_size == levels.num_data
    total = float(num_total if silent and num_total is not None else levels.full_size)
    shape = torch.Size((num_particles, levels.num_data))
    if not levels.whole:
        return _level(run, tuple(run.guide_sites), tuple(run.observed), shape, False, total)
    # A guide that couples the data leaves nothing of its own to a datum.
    whole = levels.whole.union(run.guide_sites) if run.coupling else levels.whole
    latent, observed = (
        {inside: tuple(name for name in nodes if (name in whole) is inside) for inside in (False, True)}
        for nodes in (run.guide_sites, run.observed)
    )
    of_set = _level(run, latent[True], observed[True], torch.Size((num_particles, 1)), True, total)
    terms = _level(run, latent[False], observed[False], shape, False, total)
    order = tuple(run.guide_sites), tuple(run.model_sites)
    of_set = replace(of_set, order=order, draws_per_global=share_draws)
    return replace(terms, whole=of_set, draws_per_global=share_draws, coupling=run.coupling, order=order)


def _level(
    run: PairRun,
    latent: tuple[str, ...],
    observed: tuple[str, ...],
    shape: torch.Size,
    of_set: bool,
    num_total: float,
) -> Terms:
    """The terms of the sites of one level: local, or those of the set."""
    places = {name: _standing(run, name, of_set) for name in (*latent, *observed)}
    sites = {name: _site(run, name, places[name], shape[0]) for name in latent}
    observations = {}
    for name in observed:
        node = run.observed[name]
        observations[name] = Observation(node["value"], node["fn"], node["mask"], places[name])
    densities = {name: _observed_density(name, each) for name, each in observations.items()}

    def total(scales: Mapping[str, Tensor | float]) -> Tensor:
        parts = [
            per_datum(name, density, places[name] or shape, scales.get(name, 1.0), run.observed[name]["mask"])
            for name, density in densities.items()
        ]
        if not parts:
            like = next(site.value for site in sites.values())
            return torch.zeros(shape, dtype=like.dtype if like.is_floating_point() else None, device=like.device)
        return sum(parts[1:], start=parts[0])

    scaled = any(is_scaled(run.scales[name]) for name in places)
    return Terms(
        sites,
        tuple(name for name in run.model_sites if name in places),
        observations,
        total(run.scales),
        1.0 if of_set else run.levels.data_scale,
        unscaled_log_likelihood=total({}) if scaled else None,
        num_total=num_total,
    )


def _standing(run: PairRun, name: str, of_set: bool) -> Standing | None:
    """Where a site stands; None where its batch is [K, N] as it is."""
    standing = run.levels.standings.get(name)
    if standing is None or (standing.is_plain and standing.data_dim == -1 and not of_set):
        return None
    return standing.over_the_data() if of_set else standing


def _site(run: PairRun, name: str, place: Standing | None, num_particles: int) -> Site:
    q_node, p_node = run.guide_sites[name], run.model_sites.get(name)
    value = alias = q_node["value"]
    if place is not None:
        value = ordered_value(place, value, len(q_node["fn"].event_shape))
    elif num_particles == 1:
        value = carried(value, lambda draw: draw.unsqueeze(0))
    return Site(
        name=name,
        value=value,
        draw=run.draws[name],
        q=q_node["fn"],
        p=p_node["fn"] if p_node else None,
        q_stopped=run.stopped.get(name),
        scale=run.scales[name],
        mask=_either_mask(q_node["mask"], p_node["mask"] if p_node else None),
        transforms=name in run.transforms,
        standing=place,
        alias=None if place is None else alias,
    )


def _either_mask(of_guide: Tensor | bool | None, of_model: Tensor | bool | None) -> Tensor | bool | None:
    """The handlers' mask of both sides: what one side says by a handler the other may say by ``q.mask(...)``."""
    if of_guide is None or of_model is None or of_guide is of_model:
        return of_model if of_guide is None else of_guide
    return torch.as_tensor(of_guide) & torch.as_tensor(of_model)


def _observed_density(name: str, observation: Observation) -> Tensor:
    """log p(x) of one site: a category that there is not would else be an index out of bounds."""
    try:
        return log_density(observation.p, observation.value)
    except (RuntimeError, IndexError):
        require_data_in_support({name: observation})
        raise
