"""Draws of the guide's global sites, to be held while local sites are drawn given them."""

from __future__ import annotations

from collections.abc import Callable

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.whole_model import run_whole

# Two draws, so that particles have a dimension of their own.
FEWEST = 2

GlobalDraw = Callable[[], dict[str, Tensor]]


def late_global(terms: Terms) -> tuple[str, str, str] | None:
    """The program, the first global site that it draws after a local one, and that one; None if none."""
    for program, order in zip(("guide", "model"), terms.order, strict=False):
        is_local = [site in terms.sites for site in order]
        if True in is_local and False in is_local[is_local.index(True) :]:
            late = order[is_local.index(False, is_local.index(True))]
            return program, late, order[is_local.index(True)]
    return None


def require_local_given_global(terms: Terms, instead: str) -> None:
    """Refuse a pair without local sites, or whose guide has no local draws given global ones that can be held.

    Args:
        terms: of one run.
        instead: what is there for such a pair, in words.

    Raises:
        ModelError: a site is named.
    """
    if terms.coupling is not None:
        raise ModelError(
            f"site {terms.coupling!r} draws the latents of all data at once, so that there are none of a datum "
            f"given the global sites; {instead}"
        )
    if not terms.sites and terms.whole is not None and terms.whole.sites:
        raise ModelError(
            f"site {next(iter(terms.whole.sites))!r} is global, as all latents are: no datum has latents of its "
            f"own; {instead}"
        )
    late = late_global(terms)
    if late is not None:
        program, site, local = late
        raise ModelError(
            f"site {site!r} is global and drawn after the local {local!r} in the {program}, so that there are no "
            f"local draws given the global ones; {instead}"
        )
    for name, each in ({} if terms.whole is None else terms.whole.sites).items():
        if each.standing is not None and each.standing.factor != 1.0:
            raise ModelError(
                f"site {name!r} stands in a plate that takes some of its groups alone, others in every run, so "
                f"that its draws cannot be held; {instead}"
            )


def global_draws(
    given: Conditioned, instead: str = "run_calibration judges it after simulate_refits"
) -> GlobalDraw | None:
    """A function that draws the global sites from the guide: [1, *plates, *event] by site; None without such sites.

    Sites that the programs compute from these are left out, and auxiliary ones of the guide are in it.

    Args:
        given: the pair and all its data.
        instead: what is there for a pair that has no local draws given the global ones, in words.

    Raises:
        ModelError: there are no local draws given the global ones; the site is named.
    """
    terms = run_terms(*given.programs, given.batch, {}, 1, "score", both_levels=True)
    if terms.whole is None or not terms.whole.sites:
        return None
    require_local_given_global(terms, instead)

    def draw() -> dict[str, Tensor]:
        run = run_terms(*given.programs, given.batch, {}, FEWEST, "score", both_levels=True)
        assert run.whole is not None
        return {name: site.draw[:1] for name, site in run.whole.sites.items()}

    return draw


def draws_for_the_model(given: Conditioned) -> GlobalDraw | None:
    """A function that draws the model's global sites from any guide: [1, *plates, *event]; None without such sites.

    Args:
        given: the pair and all its data.
    """
    terms = run_terms(*given.programs, given.batch, {}, 1, "score", both_levels=True)
    if terms.whole is None or not terms.whole.sites:
        return None
    names = {name for name, site in terms.whole.sites.items() if site.p is not None}
    if terms.coupling is not None:
        # Such a guide puts the local sites among those of the set.
        names &= run_whole(given.model, given.x, 1, Messenger()).levels.whole

    def draw() -> dict[str, Tensor]:
        run = run_terms(*given.programs, given.batch, {}, FEWEST, "score", both_levels=True)
        assert run.whole is not None
        return {name: run.whole.sites[name].read[:1] for name in names}

    return draw
