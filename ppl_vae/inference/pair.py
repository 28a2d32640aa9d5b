"""Running a (model, guide) pair once, and refusing pairs whose numbers would be silently wrong.

A pair is two Pyro programs with any latent sites inside one vectorised plate at dim -1. The particles are a
plate at dim -2. This file knows Pyro's traces; nothing above it does.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError, PplVaeError
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.indices import NAME, Indexed, require_indices
from ppl_vae.inference.stopped import stopped_guide
from ppl_vae.registration import unregistered

# A site of a Pyro trace. Pyro's own type has optional fields that every sample site does have.
Node = Any
Program = Callable[..., Any]
PARTICLES = "_ppl_vae_particles"
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
        scales: by site, the factor from ``poutine.scale`` apart from the data plate's own N / B.
        num_data: N, the size of the data plate in this run.
        data_scale: full size of the data plate over N.
    """

    guide_sites: dict[str, Node]
    draws: dict[str, Tensor]
    model_sites: dict[str, Node]
    observed: dict[str, Node]
    stopped: dict[str, Any]
    scales: dict[str, Any]
    num_data: int
    data_scale: float


def split_pair(pair: Any) -> tuple[Program, Program]:
    """The two programs of an object with ``.model`` and ``.guide``, or of a tuple.

    Raises:
        ModelError: it is neither.
    """
    if isinstance(pair, tuple) and len(pair) == 2:
        model, guide = pair
    else:
        model, guide = getattr(pair, "model", None), getattr(pair, "guide", None)
    if not (callable(model) and callable(guide)):
        raise ModelError(
            f"expected an object with .model and .guide, or a tuple (model, guide), got {type(pair).__name__}"
        )
    return model, guide


def owner(program: Program) -> nn.Module | None:
    """The nn.Module that holds a program's parameters: itself, or the one that a bound method belongs to."""
    if isinstance(program, Indexed):
        program = program.program
    if isinstance(program, nn.Module):
        return program
    bound = getattr(program, "__self__", None) if inspect.ismethod(program) else None
    return bound if isinstance(bound, nn.Module) else None


@exclusive()
def run_pair(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    num_particles: int,
    gradient: str,
    draw_handler: Messenger | None = None,
) -> PairRun:
    """Run the guide, then the model at the guide's draws.

    A ``draw_handler`` that sets a site's value itself marks it with infer={HANDLED: True}.

    Raises:
        ModelError: the pair is refused; the site is named.
    """
    num_particles = whole("num_particles", num_particles)
    if NAME not in kwargs:
        require_indices(model, guide)
    # Where a handler is listening, as SVI's is, our own models show it their parameters.
    with contextlib.nullcontext() if am_i_wrapped() else unregistered():
        # Outside the particles' plate, the handler sees a site after the plate has given it its shape.
        with _plates_named(), draw_handler or contextlib.nullcontext(), _particles(num_particles):
            guide_trace, draws = _trace_guide(guide, args, kwargs, gradient)
        with _plates_named(), _particles(num_particles):
            model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
            guide_sites, model_latent, observed = _sort(guide_trace, model_trace, gradient)
            stopped = {}
            if gradient == "path":
                stopped = stopped_guide(guide, guide_sites, guide_trace, draws, args, kwargs)
    nodes = {**guide_sites, **model_latent, **observed}
    num_data, data_scale = _data_plate(nodes)
    scales = _scales(guide_sites, model_latent, nodes)
    return PairRun(guide_sites, draws, model_latent, observed, stopped, scales, num_data, data_scale)


def run_model(
    model: Program, args: tuple[Any, ...], num_particles: int, values: Messenger
) -> tuple[dict[str, Node], dict[str, Node], dict[str, Any], int]:
    """Run the model alone, with ``values`` setting its latent sites.

    Returns:
        The trace nodes of the latent and of the observed sites, every site's own scale, and N.

    Raises:
        ModelError: the model is refused; the site is named.
    """
    nodes, scales, num_data = run_program(model, args, num_particles, values)
    latent, observed = _split_observed(nodes)
    _require_observed(observed)
    return latent, observed, scales, num_data


@exclusive()
def run_program(
    program: Program, args: tuple[Any, ...], num_particles: int, values: Messenger
) -> tuple[dict[str, Node], dict[str, Any], int]:
    """Run one program alone: the trace nodes of its sample sites, every site's own scale, and N."""
    require_indices(program)
    registration = contextlib.nullcontext() if am_i_wrapped() else unregistered()
    with registration, _plates_named(), values, _particles(num_particles):
        trace = poutine.trace(program).get_trace(*args)
    nodes = _sample_nodes(trace)
    num_data, _ = _data_plate(nodes)
    return nodes, {name: _own_scale(node) for name, node in nodes.items()}, num_data


def _particles(number: int) -> contextlib.AbstractContextManager[Any]:
    return pyro.plate(PARTICLES, number, dim=-2) if number > 1 else contextlib.nullcontext()


@contextlib.contextmanager
def _plates_named() -> Iterator[None]:
    """Refusals, and Pyro's own complaints about plates, in one line."""
    try:
        yield
    except PplVaeError as error:
        # Pyro appends the shapes of its trace, line by line, to whatever a program raises.
        words, trace, _ = str(error).partition("\nTrace Shapes")
        if not trace:
            raise
        raise type(error)(words) from error
    except ValueError as error:
        complaint = str(error).partition("\n")[0]
        if "Shape mismatch inside plate" in complaint:
            raise ModelError(f"{complaint}; is an .to_event() missing?") from error
        if "collide at dim" in complaint:
            raise ModelError(f"{complaint}; every site needs one data plate at dim -1 and no other") from error
        raise


def _scales(guide_sites: dict[str, Node], latent: dict[str, Node], nodes: dict[str, Node]) -> dict[str, Any]:
    """Every site's scale apart from its plates'; scale and mask must be the same in guide and model."""
    scales = {name: _own_scale(node) for name, node in nodes.items()}
    for name, node in guide_sites.items():
        if not _same(_own_scale(node), scales[name]):
            raise ModelError(
                f"site {name!r} is scaled by {_own_scale(node)} in the guide but by {scales[name]} in the model; "
                "scale both alike, or leave the scaling out and use an objective such as inf.Beta"
            )
        if name in latent and not _same_mask(node["mask"], latent[name]["mask"]):
            raise ModelError(f"site {name!r} is masked otherwise in the guide than in the model; mask both alike")
    return scales


class _Detached(Messenger):
    """Cut every draw off from the parameters it was drawn with."""

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["value"], Tensor) and not msg["is_observed"]:
            msg["value"] = msg["value"].detach()


def _trace_guide(
    guide: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], gradient: str
) -> tuple[poutine.Trace, dict[str, Tensor]]:
    with _Detached() if gradient == "score" else contextlib.nullcontext():
        trace = poutine.trace(guide).get_trace(*args, **kwargs)
    nodes = _sample_nodes(trace)
    for name, node in nodes.items():
        if node["is_observed"]:
            raise ModelError(f"site {name!r} is observed in the guide; observe data in the model")
    draws = {name: node["value"] for name, node in nodes.items()}
    for node in nodes.values():
        # The model reads an alias. What flows back through the alias is the path derivative of the
        # densities alone, which some estimators reweight; the guide's own chain of draws is not in it.
        node["value"] = node["value"].view_as(node["value"])
    return trace, draws


def _sort(guide_trace: poutine.Trace, model_trace: poutine.Trace, gradient: str) -> tuple[dict[str, Node], ...]:
    """Latent sites of the guide, latent sites of the model, observed sites; or a refusal."""
    in_guide = _sample_nodes(guide_trace)
    latent, observed = _split_observed(_sample_nodes(model_trace))
    for name, node in in_guide.items():
        if name in observed:
            raise ModelError(f"site {name!r} is sampled in the guide but observed in the model")
        if name not in latent and not (node["infer"] or {}).get("is_auxiliary"):
            raise ModelError(
                f"site {name!r} is in the guide but not in the model (mark it is_auxiliary if that is meant)"
            )
        exempt = gradient == "score" or not torch.is_grad_enabled() or (node["infer"] or {}).get(HANDLED)
        if not (exempt or node["fn"].has_rsample):
            raise ModelError(
                f"site {name!r}: {type(node['fn']).__name__} has no reparameterised draws; "
                "use an estimator of the score-function family"
            )
    for name in latent:
        if name not in in_guide:
            raise ModelError(f"site {name!r} is latent in the model but missing from the guide")
    _require_observed(observed)
    return in_guide, latent, observed


def _split_observed(nodes: dict[str, Node]) -> tuple[dict[str, Node], dict[str, Node]]:
    latent = {name: node for name, node in nodes.items() if not node["is_observed"]}
    observed = {name: node for name, node in nodes.items() if node["is_observed"]}
    return latent, observed


def _require_observed(observed: dict[str, Node]) -> None:
    if not observed:
        raise ModelError("the model observes nothing: no site has obs=")


def _sample_nodes(trace: poutine.Trace) -> dict[str, Node]:
    """Sample sites, without the bookkeeping of plates and of pyro.deterministic."""
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and not poutine.util.site_is_subsample(node)
        and not (node["infer"] or {}).get("_deterministic")
    }


def _data_plate(nodes: dict[str, Node]) -> tuple[int, float]:
    """Size N and scale (full size over N) of the one plate that every site must stand in."""
    sizes = {}
    for name, node in nodes.items():
        frames = [frame for frame in node["cond_indep_stack"] if frame.name != PARTICLES]
        sequential = [frame.name for frame in frames if not frame.vectorized]
        if sequential:
            raise ModelError(
                f"site {name!r} stands in the sequential plate {sequential[0]!r}; make the plate vectorised"
            )
        if [frame.dim for frame in frames] != [-1]:
            where = f"plates {[(f.name, f.dim) for f in frames]}" if frames else "no plate"
            raise ModelError(f"site {name!r} stands in {where}; every site needs one data plate at dim -1")
        sizes[name] = (frames[0].size, (frames[0].full_size or frames[0].size) / frames[0].size)
    (first, plate), *rest = sizes.items()
    for name, other in rest:
        if other != plate:
            raise ModelError(
                f"site {name!r} stands in a data plate of size {other[0]}, site {first!r} in one of {plate[0]}"
            )
    return plate


def _own_scale(node: Node) -> Any:
    """The site's scale without what its subsampled plates contribute."""
    scale = node["scale"]
    for frame in node["cond_indep_stack"]:
        if frame.full_size and frame.full_size != frame.size:
            scale = scale * frame.size / frame.full_size
    return scale


def _same_mask(a: Any, b: Any) -> bool:
    if a is b:
        return True
    a, b = (torch.as_tensor(True if mask is None else mask) for mask in (a, b))
    return bool((a == b.to(a.device)).all())


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b or torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b))
