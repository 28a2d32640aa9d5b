"""The requirement that the densities of a datum depend on the datum alone, not on its place or its batch.

Programs with a parameter or a constant of each datum, such as pyro.param("loc", zeros(N)) or known noise
sigma[n] in a closure, mean the data they were written for, in their order. Cut into parts, or with simulated
data in their places, every datum would meet what belongs to another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.errors import ModelError, PplVaeError
from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.hidden_noise import hidden_noise
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Site, Terms

MOST_DATA = 64
TOLERANCE = 1e-3


@torch.no_grad()
def require_exchangeable(model: Program, guide: Program, batch: Batch, before: Terms | None = None) -> None:
    """Refuse a pair whose densities move when the data trade places and take their latent values along.

    So is a model refused whose density of a datum is another without the rest of the batch.

    A guide whose density is known at its own draws alone cannot be compared and passes, and so does a program that
    draws random numbers outside its sample sites.

    Args:
        model: the generative program.
        guide: its guide.
        batch: a few data [N, *event_shape], and their labels if any.
        before: the terms of a run of the pair on them with one draw, if there is one already.

    Raises:
        ModelError: they do; a side is named.
    """
    if len(batch[0]) < 2:
        return
    before = run_terms(model, guide, batch, both_levels=True) if before is None else before
    values = {name: _moved(site) for name, site in before.sites.items()} | _of_set(before)
    moved = tuple(part.roll(1, 0) for part in batch)
    try:
        after = run_terms(model, guide, moved, draw_handler=Given(values), both_levels=True)
        pairs = {
            "guide": (before.log_guide, after.log_guide),
            "model": (_log_joint(before), _log_joint(after)),
        }
    except PplVaeError:
        return
    for side, (here, there) in pairs.items():
        if not _agree(here.roll(1, 1), there) and not _is_noisy(side, model, guide, batch):
            raise ModelError(
                f"the {side}'s density of a datum depends on its place among the data, as with a parameter or a "
                "constant per datum: such programs take all their data at once and in order, so the data "
                "cannot be cut into parts or replaced by simulated ones"
            )
    try:
        among, alone = _alone(model, guide, batch, before)
    except PplVaeError:
        return
    if not _agree(among, alone) and not _is_noisy("model", model, guide, batch):
        raise ModelError(
            "the model's density of a datum depends on the other data of its batch, as with x.mean() in the "
            "program: compute such numbers once, of all data, outside of it, or take all data at once"
        )


def _alone(model: Program, guide: Program, batch: Batch, before: Terms) -> tuple[Tensor, Tensor]:
    """The model's density of the first half of the data, among all and alone, at the same draws."""
    half = len(batch[0]) // 2
    values = {name: _first(site, half) for name, site in before.sites.items()}
    values |= _of_set(before)
    few = run_terms(
        model, guide, tuple(part[:half] for part in batch), draw_handler=Given(values), both_levels=True
    )
    return _log_joint(before)[:, :half], _log_joint(few)


def _of_set(before: Terms) -> dict[str, Tensor]:
    """The draws of the global sites."""
    levels = {} if before.whole is None else before.whole.sites
    return {name: carried(site.read, lambda draw: draw.unsqueeze(0)) for name, site in levels.items()}


def _first(site: Site, count: int) -> Tensor:
    """The draws of one run for the first data: [1, *batch, *event], as the programs read them."""
    if site.standing is None or site.standing.data_dim is None:
        return carried(site.value, lambda draw: draw[:, :count])
    dim = site.standing.data_dim - len(site.q.event_shape)
    return carried(site.read, lambda draw: draw.narrow(dim, 0, count).unsqueeze(0))


def _moved(site: Site) -> Tensor:
    """The draws of one run, one datum further on: [1, *batch, *event], as the programs read them."""
    if site.standing is None or site.standing.data_dim is None:
        return carried(site.value, lambda draw: draw.roll(1, 1))
    dim = site.standing.data_dim - len(site.q.event_shape)
    return carried(site.read, lambda draw: draw.roll(1, dim).unsqueeze(0))


def _is_noisy(side: str, model: Program, guide: Program, batch: Batch) -> bool:
    """Tell whether a program's density moves at every call, whatever the data's places."""
    noise = hidden_noise(model, guide, batch)
    return (noise.model if side == "model" else noise.guide) != "none"


def _log_joint(terms: Terms) -> Tensor:
    return terms.log_likelihood + terms.log_prior


def _agree(a: Tensor, b: Tensor) -> bool:
    scale = max(1.0, a.abs().nan_to_num(posinf=0.0).max().item())
    return torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)
