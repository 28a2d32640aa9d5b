"""The requirement that the densities of a draw of a datum depend on that draw and that datum's latents alone.

A program that sums over too many dimensions, such as z.sum() for z.sum(-1), or normalises by its batch, such as
h - h.mean(0), lets the draws of one datum into the density of another. A mean over draws, and so an importance
weight, a K-sample bound or log p(x) of a datum, is then of no model at all. With one draw, and across data alone,
the sum over data is a bound of all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae.containers import Rows
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.exchangeable import MOST_DATA
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.hidden_noise import densities_of
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Site, Terms

TOLERANCE = 1e-3
WITH_DATA = "other draws, of its datum or of the other data"


@torch.no_grad()
def require_separate_draws(model: Program, guide: Program, args: tuple[object, ...], among_data: bool) -> None:
    """Refuse a pair whose density of a draw moves with other draws.

    What has no density at given draws passes, and so does a program whose density there is another at every call.

    Args:
        model: the generative program.
        guide: its guide.
        args: what both are run on, data [N, *event_shape] first.
        among_data: whether draws of the other data count too, not only other draws of the same.

    Raises:
        ModelError: one does; the side is named.
    """
    found = _replayed(model, guide, tuple(map(_few, args)), among_data) or _replayed(model, guide, args, among_data)
    if found is None:
        return
    rows = slice(None, None, 2 if among_data else 1)
    for index, side in enumerate(("model", "guide")):
        both, again, *twice = (each[index] for each in found)
        moved = any(not _agree(both[draw, rows], each[draw, rows]) for draw, each in enumerate(twice))
        # A program may be one whose density at given draws is another at every call.
        if moved and _agree(both, again):
            others, example = (WITH_DATA, " or h - h.mean(0)") if among_data else ("other draws", "")
            raise ModelError(
                f"the {side}'s density of a draw depends on {others}, as with z.sum() in the place of z.sum(-1)"
                f"{example}: a mean over draws needs a density of each; compute with the dimensions of a datum "
                "alone, counted from the right"
            )


def _few(argument: object) -> object:
    return argument[:MOST_DATA] if isinstance(argument, Tensor | Rows) and argument.dim() else argument


def _replayed(
    model: Program, guide: Program, args: tuple[object, ...], among_data: bool
) -> list[tuple[Tensor, Tensor]] | None:
    """The densities of model and guide [2, N] at two draws, at both again, and at each of them twice.

    None where the programs cannot be asked for them.
    """
    try:
        two = run_terms(model, guide, args, {}, 2, both_levels=True)
        if (among_data and two.coupling is not None) or two.subsampled is not None:
            return None

        def densities(values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            terms = run_terms(model, guide, args, {}, 2, draw_handler=Given(values), both_levels=True)
            return densities_of(terms, "model"), densities_of(terms, "guide")

        both = {name: site.read.clone() for level in two.levels for name, site in level.sites.items()}
        return [densities(values) for values in (both, both, *(_twice(two, draw, among_data) for draw in range(2)))]
    except Exception:  # Whatever a user's program raises at draws that are not its own.
        return None


def _twice(two: Terms, draw: int, among_data: bool) -> dict[str, Tensor]:
    """One of two draws as both, by site; ``among_data`` every other datum has the other of its local sites."""
    of_set = {} if two.whole is None else two.whole.sites
    found = {name: _of(site, draw) for name, site in of_set.items()}
    return found | {
        name: _in_turn(site, draw) if among_data else _of(site, draw) for name, site in two.sites.items()
    }


def _of(site: Site, draw: int) -> Tensor:
    return site.read[draw % len(site.read)].expand(2, *site.read.shape[1:])


def _in_turn(site: Site, draw: int) -> Tensor:
    """One of two draws for every other datum, and the other between, as both: [2, *batch, *event]."""
    place = -1 if site.standing is None or site.standing.data_dim is None else site.standing.data_dim
    one, other = _of(site, draw), _of(site, 1 - draw)
    turn = torch.arange(one.shape[place - len(site.q.event_shape)], device=one.device) % 2 == 0
    ahead = len(site.q.event_shape) - place - 1
    return torch.where(turn.reshape(-1, *[1] * ahead), one, other)


def _agree(a: Tensor, b: Tensor) -> bool:
    scale = max(1.0, a.abs().nan_to_num(posinf=0.0).max().item())
    return torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)
