"""Draws of the model on its own: g, z, x ~ p(g, z, x).

What the model observes is drawn and put back where it came from among the arguments: an observed value that is an
argument, a part or another view of one, or equal to one, such as obs=y.float(). So a model may observe several
things of a datum, and simulated data are arguments that it can be called with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.pair.draws import require_plain
from ppl_vae.inference.pair.faulty_draws import require_faithful_draws
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.indices import require_indices
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.levels import find_levels
from ppl_vae.inference.pair.pair import PairLike, as_model
from ppl_vae.inference.pair.plates import WholePlates, one_line_refusals
from ppl_vae.inference.pair.point_mass import stated_density, without_events
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.reseeding import seeding_refused
from ppl_vae.inference.pair.scales import unmasked, value_mask
from ppl_vae.inference.pair.site_shapes import require_data_rows, require_shapes
from ppl_vae.inference.pair.trace import sample_nodes
from ppl_vae.inference.pair.trace_site import TraceSite


@dataclass(frozen=True)
class Simulated:
    """Data from the model.

    Attributes:
        values: the latent values by site, [N, *event] of local ones in the data plate alone; others as the program
            draws them.
        x: the first argument [N, *event_shape], drawn where it is observed.
        batch: all arguments (x, c1, ..., cm), drawn where they are observed.
        observed: what was drawn, by observed site, as the program has it.
    """

    values: Mapping[str, Tensor]
    x: Tensor
    batch: Batch
    observed: Mapping[str, Tensor]


class _Unconditioned(Messenger):
    """Draw what is observed, and leave computed values as they are.

    ``poutine.uncondition`` draws these too, as points that the plate then expands once more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, object] = {}

    def _pyro_sample(self, msg: TraceSite) -> None:
        if not msg["is_observed"]:
            return
        if isinstance(without_events(unmasked(msg["fn"])), dist.Delta):
            _require_no_weight(msg)
            return
        if isinstance(msg["fn"], dist.Unit):
            raise ModelError(
                f"site {msg['name']!r} is a factor: a model whose draws are weighted cannot be simulated"
            )
        self.given[msg["name"]] = msg["value"]
        msg["is_observed"], msg["done"], msg["value"] = False, False, None
        msg["infer"] = {**(msg["infer"] or {}), "was_observed": True}


def _require_no_weight(msg: TraceSite) -> None:
    """Refuse a computed value with a log density of its own, as ``ConjugateReparam`` makes of a latent."""
    mask = value_mask(msg["fn"], msg["mask"])
    if (mask is None or mask.any()) and stated_density(unmasked(msg["fn"])).any():
        raise ModelError(
            f"site {msg['name']!r} is a computed value with a log density of its own, as ConjugateReparam and "
            "SplitReparam make: a model whose draws are weighted cannot be simulated"
        )


@exclusive()
@torch.no_grad()
def simulate(
    model: Program | PairLike,
    x: Data,
    *covariates: object,
    values: Mapping[str, Tensor] | None = None,
    put_back: bool = True,
) -> Simulated:
    """Draw g, z, x ~ p(g, z, x), as many data as there are in ``x``, of whose values only NaN is looked at.

    What is missing in the data, as NaN or by a ``poutine.mask``, is missing in the draw: statements about
    draws must hold for data with the same holes. That takes the holes to be independent of the values.

    Args:
        model: the generative program, or a pair that has one.
        x: [N, *event_shape].
        *covariates: what the model takes beside x. What it observes of them is drawn, too.
        values: of some latent sites, as the program draws them; the others are drawn given these.
        put_back: whether draws are put back into the arguments; else ``observed`` alone has them.

    Raises:
        ModelError: the model has a ``pyro.factor``; or it observes something that is made of its arguments, so that
            a draw of it is no argument; or its likelihood cannot be drawn from; or it refuses data of this shape.
    """
    model = as_model(model)
    arguments: tuple[Any, ...] = (x, *covariates)
    require_indices(model)
    drawn = _Unconditioned()
    given = Given({name: value.unsqueeze(0) for name, value in (values or {}).items()})
    try:
        with one_line_refusals(), WholePlates(x), seeding_refused("model"), drawn, given:
            trace = poutine.trace(model).get_trace(*arguments)
    except NotImplementedError as error:
        raise ModelError("the model cannot be drawn from: one of its distributions has no sample method") from error
    latent, observed = _sorted(sample_nodes(trace))
    require_faithful_draws({name: node["fn"] for name, node in {**latent, **observed}.items()})
    levels = find_levels({}, latent, observed, 1, x, known_groups=lambda: traits(model).group_plates)
    require_data_rows(levels.num_data, x)
    require_shapes({**latent, **observed}, levels)
    if not any((node["infer"] or {}).get("was_observed") for node in observed.values()):
        raise ModelError("simulated data need an observed site with data, and the model has none")
    found = {name: node["value"] for name, node in observed.items()}
    batch = _put_back(model, arguments, observed, drawn.given) if put_back else arguments
    return Simulated({name: node["value"] for name, node in latent.items()}, batch[0], batch, found)


def _sorted(nodes: Mapping[str, TraceSite]) -> tuple[dict[str, TraceSite], dict[str, TraceSite]]:
    """The latent sites, and those that were observed before they were drawn."""
    latent, observed = {}, {}
    for name, node in nodes.items():
        if (node["infer"] or {}).get("was_observed"):
            observed[name] = node
        elif not node["is_observed"]:
            require_plain(name, node["value"])
            latent[name] = node
    return latent, observed


def _put_back(
    model: Program, arguments: tuple[Any, ...], observed: Mapping[str, TraceSite], given: Mapping[str, Any]
) -> Batch:
    """The arguments with what was drawn in the place of what was observed."""
    found, taken = list(arguments), dict[int, Tensor]()
    for name, node in observed.items():
        value, kept = given[name], _kept(node)
        place = _place(name, value, kept, arguments)
        if place is not None:
            argument = arguments[place]
            part = _part(taken.setdefault(place, _laid_out(argument, torch.bool)), argument, value)
            if part.any():
                raise ModelError(f"site {name!r} observes what another site does: a datum has one draw of it")
            part.fill_(True)
            found[place] = _in_place(found[place], argument, value, node["value"], kept)
        elif len(observed) == 1:
            # What is made of x alone may stand for it, as where a likelihood observes the codes of x.
            found[0] = _missing_as_in(arguments[0], node["value"])
            _require_read_as_drawn(model, found, name)
        else:
            raise ModelError(
                f"site {name!r} observes no argument as it is, but something that is made of them: a draw of it is "
                "no argument; pass what it observes as an argument of its own"
            )
    return tuple(found)


def _require_read_as_drawn(model: Program, arguments: list[Any], name: str) -> None:
    """Refuse a draw that the model would take for another one, as where it observes (x - 50) / 10 or log x.

    Raises:
        ModelError: the model observes something else at its own draw; the site is named.
    """
    try:
        with WholePlates(arguments[0]):
            read = poutine.trace(model).get_trace(*arguments).nodes[name]["value"]
        alike = isinstance(read, Tensor) and read.shape == arguments[0].shape
        same = isinstance(read, Tensor) and alike and _equal(arguments[0], read, torch.ones((), dtype=torch.bool))
    except (RuntimeError, ValueError, IndexError, KeyError):
        same = False
    if not same:
        raise ModelError(
            f"site {name!r} observes something that is made of the model's argument, such as (x - mean) / sd or "
            "log x: a draw of it is no x that the programs could be given; transform the data before"
        )


def _kept(node: TraceSite) -> Tensor:
    """The mask of an observed site, True where it has data: it broadcasts to the site's values."""
    mask = value_mask(node["fn"], node["mask"])
    return torch.as_tensor(True if mask is None else mask, device=node["value"].device)


def _place(name: str, value: object, kept: Tensor, arguments: tuple[object, ...]) -> int | None:
    """The argument that a value is, or is a view of, or is equal to where it has data; None where there is none."""
    if not isinstance(value, Tensor):
        return None
    tensors = [(place, argument) for place, argument in enumerate(arguments) if isinstance(argument, Tensor)]
    for place, argument in tensors:
        if _is_view(value, argument):
            return place
    alike = [p for p, argument in tensors if argument.shape == value.shape and _equal(argument, value, kept)]
    if len(alike) > 1:
        raise ModelError(f"site {name!r} observes a copy of one of {len(alike)} equal arguments; pass it as it is")
    return alike[0] if alike else None


def _is_view(value: Tensor, argument: Tensor) -> bool:
    own, whole = value.untyped_storage(), argument.untyped_storage()
    return value.dtype == argument.dtype and own.data_ptr() == whole.data_ptr() and bool(own.nbytes())


def _equal(argument: Tensor, value: Tensor, kept: Tensor) -> bool:
    return bool(((argument.to(value.dtype) == value) | argument.isnan() | ~kept).all())


def _in_place(now: Tensor, argument: Tensor, value: Tensor, drawn: Tensor, kept: Tensor) -> Tensor:
    """The argument as it is now, with a draw where the value is a part of it and has data."""
    filled = _laid_out(argument, argument.dtype).copy_(now)
    part = _part(filled, argument, value)
    part.copy_(torch.where(kept, drawn.to(argument.dtype), part))
    return _missing_as_in(argument, filled)


def _laid_out(argument: Tensor, dtype: torch.dtype) -> Tensor:
    """Zeros in memory as an argument is."""
    like = torch.empty_strided(argument.size(), argument.stride(), dtype=dtype, device=argument.device)
    return like.zero_()


def _part(like: Tensor, argument: Tensor, value: Tensor) -> Tensor:
    """The part of a tensor, laid out as the argument is, that a value is of the argument."""
    if not _is_view(value, argument):
        return like
    return like.as_strided(value.size(), value.stride(), value.storage_offset() - argument.storage_offset())


def _missing_as_in(argument: object, drawn: Tensor) -> Tensor:
    if not (isinstance(argument, Tensor) and argument.is_floating_point() and argument.shape == drawn.shape):
        return drawn
    missing = argument.isnan()
    return torch.where(missing, torch.nan, drawn) if missing.any() else drawn
