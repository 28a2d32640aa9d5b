"""Running a (model, guide) pair once, and refusing pairs whose numbers would be silently wrong.

A pair is two Pyro programs whose observed sites share a plate over the data; latent sites stand in it, or outside
of it (``levels``). The particles are a plate to the left of the user's own. This file knows Pyro's traces; nothing
above it does.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError, PplVaeError, reason_of
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.pair.autoguides import autoguide_refusals
from ppl_vae.inference.pair.auxiliary import transforms_of
from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.indices import NAME, require_indices
from ppl_vae.inference.pair.learned import PLAIN, Learned, generator_states, put_back, recall, remember
from ppl_vae.inference.pair.levels import Levels, find_levels, local_alone
from ppl_vae.inference.pair.plates import WholePlates, one_line_refusals, particles
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.reparameterised import require_own_priors
from ppl_vae.inference.pair.reseeding import seeding_refused
from ppl_vae.inference.pair.scales import own_scales
from ppl_vae.inference.pair.shared_draws import SharedDraws
from ppl_vae.inference.pair.site_shapes import require_data_rows, require_shapes
from ppl_vae.inference.pair.stopped import StoppedDensity, stopped_guide
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.inference.pair.wrapping import innermost
from ppl_vae.registration import unregistered

HANDLED = "_ppl_vae_handled"


@dataclass(frozen=True)
class PairRun:
    """The sample sites of one run.

    Attributes:
        guide_sites: trace nodes of the guide's latent sites, in its order; their values are aliases of the draws.
        draws: the draws themselves, by site.
        model_sites: trace nodes of the model's latent sites, in its order.
        observed: trace nodes of the model's observed sites.
        stopped: by site, q with the guide's parameters stopped (under gradient="path").
        transforms: names of the Delta sites that transform an auxiliary draw of the guide.
        scales: by site, the factor from ``poutine.scale`` apart from the data plate's own N / B.
        levels: where they stand.
        coupling: the auxiliary site of a guide that draws all data's latents from it at once; else None.
    """

    guide_sites: dict[str, TraceSite]
    draws: dict[str, Tensor]
    model_sites: dict[str, TraceSite]
    observed: dict[str, TraceSite]
    stopped: dict[str, dist.TorchDistribution | StoppedDensity]
    transforms: frozenset[str]
    scales: dict[str, Tensor | float]
    levels: Levels
    coupling: str | None = None


def owner(program: Program) -> nn.Module | None:
    """The nn.Module that holds a program's parameters: itself, or the one that a bound method belongs to."""
    program = innermost(program)
    if isinstance(program, nn.Module):
        return program
    if inspect.ismethod(program) and isinstance(program.__self__, nn.Module):
        return program.__self__
    return None


@exclusive()
def run_pair(
    model: Program,
    guide: Program,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    num_particles: int,
    gradient: str,
    draw_handler: Messenger | None = None,
    every_datum: bool = False,
    share_draws: int = 1,
) -> PairRun:
    """Run the guide, then the model at the guide's draws.

    A ``draw_handler`` that sets a site's value itself marks it with infer={HANDLED: True}. With ``every_datum`` the
    data plate must be as long as the first argument. So many particles in a row as ``share_draws`` have one draw
    of the global sites.

    Raises:
        ModelError: the pair is refused; the site is named.
    """
    num_particles = whole("num_particles", num_particles)
    if NAME not in kwargs:
        require_indices(model, guide)

    def run(learned: Learned, number: int = num_particles) -> PairRun:
        alone = number != num_particles
        handler, shared = (None, 1) if alone else (draw_handler, share_draws)
        # Alone it shows the plates: without its handler a category would be refused for its gradient.
        how = "score" if alone else gradient
        return _run_pair(model, guide, args, kwargs, number, how, handler, every_datum, shared, learned)

    if num_particles == 1:
        with _index_hint():
            found = run(PLAIN)
        if found.levels.group_plates:
            _remember_groups(model, guide, Learned.of(found.levels))
        return found
    known = recall(model, guide)
    before = generator_states() if known is None else None
    try:
        with _index_hint():
            found = run(known or PLAIN)
        seen = Learned.of(found.levels)
        if _holds(known or PLAIN, seen, share_draws):
            if known is None:
                remember(model, guide, seen)
            return found
    except Exception as error:
        with _index_hint():
            seen = _seen_with_one_draw(model, guide, args[0] if args else None, error, lambda: run(PLAIN, 1))
        if _holds(known or PLAIN, seen, share_draws):
            raise _explained(error, num_particles, (known or PLAIN).nesting) from error
    remember(model, guide, seen)
    if before is not None:
        # The same seed gives the same draws whether or not the plates are known.
        put_back(before)
    try:
        return run(seen)
    except Exception as error:
        raise _explained(error, num_particles, seen.nesting) from error


@contextlib.contextmanager
def _index_hint() -> Iterator[None]:
    """Say why a program that uses whole numbers of x as indices finds none: data reach it as floats.

    Raises:
        ModelError: what torch said, with the remedy.
    """
    try:
        yield
    except (RuntimeError, IndexError, ModelError) as error:
        first: BaseException = error
        while isinstance(first, ModelError) and first.__cause__ is not None:
            first = first.__cause__
        said = str(first).strip().partition("\n")[0]
        if "x.long()" in str(error):
            raise
        if not any(word in said for word in ("LongTensor", "indices", "int64")):
            raise
        raise ModelError(
            f"{said}: the first argument reaches the programs as floats; use x.long() where it is an index, or "
            "give it as a covariate, whose integers are kept"
        ) from error


def _remember_groups(model: Program, guide: Program, seen: Learned) -> None:
    """Remember which plates are not the data's, but for what is known already."""
    if recall(model, guide) is None:
        remember(model, guide, seen)


def _holds(assumed: Learned, seen: Learned, share_draws: int) -> bool:
    """Tell whether a run under an assumption was a right one."""
    return seen.nesting <= assumed.nesting and (share_draws == 1 or seen.whole <= assumed.whole)


def _seen_with_one_draw(
    model: Program, guide: Program, x: object, error: Exception, run: Callable[[], PairRun]
) -> Learned:
    """The plates as one draw shows them, where the programs broke under several.

    Raises:
        Exception: the error itself where it is a refusal, or the refusal of one draw.
    """
    # What a program of the user's raised itself, or Pyro about its plates; refusals have no such cause.
    cause = error.__cause__
    broke = isinstance(cause, RuntimeError | IndexError | ValueError) and not isinstance(cause, PplVaeError)
    if isinstance(error, PplVaeError) and not broke:
        raise error
    devices = [x.device] if isinstance(x, Tensor) and x.is_cuda else []
    with torch.random.fork_rng(devices):
        return Learned.of(run().levels)


def _explained(error: Exception, num_particles: int, nesting: int = 1) -> Exception:
    """The refusal of programs that run with one draw and break under several."""
    if isinstance(error, PplVaeError) and not isinstance(error.__cause__, RuntimeError | IndexError):
        return error
    reason = reason_of(error)
    return ModelError(
        f"the programs run with one draw per datum and fail with {num_particles} in a plate at dim {-1 - nesting}: "
        f"{reason}"
    )


def _run_pair(
    model: Program,
    guide: Program,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    num_particles: int,
    gradient: str,
    draw_handler: Messenger | None,
    every_datum: bool,
    share_draws: int,
    learned: Learned,
) -> PairRun:
    data = args[0] if args else None
    x = data if every_datum else None
    nothing, nesting = contextlib.nullcontext(), learned.nesting

    def groups() -> frozenset[str]:
        return (recall(model, guide) or learned).group_plates | traits(model).group_plates

    sharing: contextlib.AbstractContextManager[object] = nothing
    if share_draws > 1 and learned.whole:
        sharing = SharedDraws(learned.whole, share_draws, -1 - nesting)
    # Where a handler is listening, as SVI's is, our own models show it their parameters.
    seen = nothing if am_i_wrapped() else unregistered()
    with seen, autoguide_refusals(guide, data), one_line_refusals(), WholePlates(x):
        # Outside the particles' plate, the handler sees a site after the plate has given it its shape.
        with draw_handler or nothing, sharing, particles(num_particles, nesting):
            guide_trace, draws = _trace_guide(guide, args, kwargs, gradient)
        with particles(num_particles, nesting):
            with seeding_refused("model"):
                model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
            guide_sites, latent, observed = _sort(guide_trace, model_trace, gradient)
            levels = find_levels(guide_sites, latent, observed, num_particles, data, nesting, groups)
            transforms, coupling = transforms_of(guide_sites, latent, levels)
            stopped = {}
            if gradient == "path":
                # Given a global draw, what depends on it in a local density is an input like any other parameter.
                inputs = frozenset() if coupling else levels.whole
                stopped = stopped_guide(guide, guide_sites, guide_trace, draws, args, kwargs, inputs)
    if num_particles > 1 and not _holds(learned, Learned.of(levels), share_draws):
        # It is run anew with what has been learned here.
        return PairRun(guide_sites, draws, latent, observed, stopped, transforms, {}, levels, coupling)
    nodes = {**guide_sites, **latent, **observed}
    require_data_rows(levels.num_data, x)
    require_shapes(nodes, levels)
    require_shapes(guide_sites, levels)
    require_own_priors(latent, observed)
    scales = own_scales(guide_sites, latent, nodes)
    return PairRun(guide_sites, draws, latent, observed, stopped, transforms, scales, levels, coupling)


def run_model(
    model: Program, args: tuple[object, ...], num_particles: int, values: Messenger
) -> tuple[dict[str, TraceSite], dict[str, TraceSite], int]:
    """Run the model alone, with ``values`` setting its latent sites.

    Returns:
        The trace nodes of the latent and of the observed sites, and N.

    Raises:
        ModelError: the model is refused; the site is named.
    """
    nodes, num_data = run_program(model, args, num_particles, values)
    latent, observed = split_observed(nodes)
    require_observed(observed)
    return latent, observed, num_data


@exclusive()
def run_program(
    program: Program, args: tuple[object, ...], num_particles: int, values: Messenger
) -> tuple[dict[str, TraceSite], int]:
    """Run one program alone, all of whose sites stand in the data plate: the trace nodes of its sites, and N."""
    require_indices(program)

    def run() -> tuple[dict[str, TraceSite], int]:
        registration = contextlib.nullcontext() if am_i_wrapped() else unregistered()
        refused = seeding_refused("program")
        with registration, one_line_refusals(), WholePlates(args[0]), refused, values, particles(num_particles):
            trace = poutine.trace(program).get_trace(*args)
        nodes = sample_nodes(trace)
        levels = local_alone(nodes, num_particles, args[0])
        require_data_rows(levels.num_data, args[0])
        require_shapes(nodes, levels)
        return nodes, levels.num_data

    try:
        return run()
    except Exception as error:
        broke = not isinstance(error, PplVaeError) or isinstance(error.__cause__, RuntimeError | IndexError)
        if num_particles == 1 or not broke:
            raise
        poutine.trace(program).get_trace(*args)
        raise _explained(error, num_particles) from error


class _Detached(Messenger):
    """Cut every draw off from the parameters it was drawn with."""

    def _pyro_post_sample(self, msg: TraceSite) -> None:
        if isinstance(msg["value"], Tensor) and not msg["is_observed"]:
            msg["value"] = carried(msg["value"], Tensor.detach)


def _trace_guide(
    guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], gradient: str
) -> tuple[poutine.Trace, dict[str, Tensor]]:
    with seeding_refused("guide"), _Detached() if gradient == "score" else contextlib.nullcontext():
        trace = poutine.trace(guide).get_trace(*args, **kwargs)
    nodes = sample_nodes(trace)
    if isinstance(innermost(guide), GuideMessenger):
        # Such a guide runs the model, whose observed sites are none of its own.
        for name in [name for name, node in nodes.items() if node["is_observed"]]:
            trace.remove_node(name)
            del nodes[name]
    for name, node in nodes.items():
        if node["is_observed"]:
            raise ModelError(_observed_in_guide(name, node))
        if not isinstance(node["value"], Tensor):
            raise ModelError(f"site {name!r}: expected a draw that is a tensor, got {type(node['value']).__name__}")
    draws = {name: node["value"] for name, node in nodes.items()}
    for node in nodes.values():
        # The model reads an alias. What flows back through the alias is the path derivative of the
        # densities alone, which some estimators reweight; the guide's own chain of draws is not in it.
        node["value"] = carried(node["value"], lambda draw: draw.view_as(draw))
    return trace, draws


def _observed_in_guide(name: str, node: TraceSite) -> str:
    if is_factor(node):
        return f"site {name!r} is a factor of the guide; state its density as the log_density of a Delta site"
    return f"site {name!r} is observed in the guide; observe data in the model"


def is_factor(node: TraceSite) -> bool:
    """Tell whether a site is a ``pyro.factor``: a density without a value."""
    return isinstance(node["fn"], dist.Unit)


def _sort(
    guide_trace: poutine.Trace, model_trace: poutine.Trace, gradient: str
) -> tuple[dict[str, TraceSite], ...]:
    """Sort the sites into the guide's latents, the model's latents and observed ones, or refuse them."""
    in_guide = sample_nodes(guide_trace)
    latent, observed = split_observed(sample_nodes(model_trace))
    for name, node in in_guide.items():
        if name in observed:
            raise ModelError(f"site {name!r} is sampled in the guide but observed in the model")
        exempt = gradient == "score" or not torch.is_grad_enabled() or (node["infer"] or {}).get(HANDLED)
        if not (exempt or node["fn"].has_rsample):
            raise ModelError(
                f"site {name!r}: {type(node['fn']).__name__} has no reparameterised draws; "
                "use an estimator of the score-function family"
            )
    for name in latent:
        if name not in in_guide:
            raise ModelError(f"site {name!r} is latent in the model but missing from the guide")
    require_observed(observed)
    return in_guide, latent, observed


def split_observed(nodes: dict[str, TraceSite]) -> tuple[dict[str, TraceSite], dict[str, TraceSite]]:
    """The latent sites, and the observed ones."""
    latent = {name: node for name, node in nodes.items() if not node["is_observed"]}
    observed = {name: node for name, node in nodes.items() if node["is_observed"]}
    return latent, observed


def require_observed(observed: dict[str, TraceSite]) -> None:
    """Refuse a model that observes nothing.

    Raises:
        ModelError: no site is observed.
    """
    if not observed:
        raise ModelError("the model observes nothing: no site has obs=")


def sample_nodes(trace: poutine.Trace) -> dict[str, TraceSite]:
    """The sample sites, without the bookkeeping of plates and of pyro.deterministic."""
    return {
        name: cast(TraceSite, node)
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and not poutine.util.site_is_subsample(node)
        and not (node["infer"] or {}).get("_deterministic")
    }
