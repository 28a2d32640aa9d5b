"""Judge the pair and the data of a diagnostic, once per call."""

from __future__ import annotations

import torch
import xarray as xr

from ppl_vae.arrays import Array
from ppl_vae.containers import Data, Labels, is_container, opened
from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.weight_chunks import pass_size
from ppl_vae.inference.pair import admission
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.hidden_noise import require_density_of_draws
from ppl_vae.inference.pair.indices import with_indices
from ppl_vae.inference.pair.labels import needs_labels
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.separate_draws import require_separate_draws
from ppl_vae.inference.pair.stream import in_one_piece
from ppl_vae.inference.pair.terms import Terms


def admitted(
    pair: PairLike, x: Data, least: int = 1, y: Array | None = None, keep_rows: bool = False
) -> Conditioned:
    """Return the two programs of a pair and its data, of which there must be enough, on the pair's device.

    Args:
        pair: whatever ``as_pair`` takes.
        x: data [N, *event_shape]; with covariates a tuple (x, c1, ..., cm) or a dict of named arrays.
        least: the fewest data.
        y: labels [N]; a pair that needs no y does not look at them.
        keep_rows: as of ``inference.pair.admission``.

    Raises:
        ModelError: it is no pair, or one that needs more than it is given; or the data have another event shape; or
            the programs draw random numbers outside their sites that part the guide's density from its draws; or a
            density of a draw moves with other draws, of the datum or of others.
        DataError: there are fewer than ``least`` data, or the likelihood has no density for some value; or the rows
            of y are named in another order than those of x.
    """
    pair = as_pair(pair)
    x = in_one_piece(pair, x)
    # Data that bring their own y may be tabled by other labels.
    is_needed = y is not None and needs_y(pair) and Arguments.of(pair).own_y(x) is None
    beside = y if is_needed else None
    found, batch = admission.admitted(pair, x, beside, least, keep_rows)
    model, guide, arguments = with_indices(found.model, found.guide, batch)
    require_density_of_draws(model, guide, arguments)
    with evaluating(model, guide, seed=0, device=batch[0].device):
        require_separate_draws(model, guide, arguments, among_data=True)
    labels = Arguments.of(pair).labels(x)
    if is_container(y):
        labels.require_same_rows(opened(y).labels, "y")
    return Conditioned((found.model, found.guide), batch, labels)


def named(table: xr.Dataset, labels: Labels) -> xr.Dataset:
    """A table over "datum" with the names of the data, where they have any."""
    return table if labels.rows is None or "datum" not in table.dims else table.assign_coords(datum=labels.rows)


def needs_y(pair: Pair) -> bool:
    """Tell whether the programs cannot be run without a covariate named y."""
    arguments = Arguments.of(pair)
    return needs_labels(pair.model) or any("y" in side.needed for side in (arguments.model, arguments.guide))


def needs_all_sites(given: Conditioned, seed: int) -> bool:
    """Tell whether a latent site stands outside the data plate, or in plates inside a datum."""
    terms = _one_draw(given, seed)
    return has_global(terms) or any(site.standing is not None for site in terms.sites.values())


def has_global_sites(given: Conditioned, seed: int) -> bool:
    """Tell whether a latent site stands outside the data plate."""
    return has_global(_one_draw(given, seed))


def require_own_posterior(given: Conditioned, seed: int, what: str) -> None:
    """Refuse a pair whose data share latent sites, where the posterior of each datum alone is asked for.

    Raises:
        ModelError: the global site is named.
    """
    whole = _one_draw(given, seed).whole
    if whole is not None and whole.sites:
        name = next(iter(whole.sites))
        raise ModelError(
            f"site {name!r} is global: its posterior, and with it that of every datum's latents, is a matter of "
            f"all data, and {what} takes one datum by itself; run_reference draws from all together"
        )


def has_global(terms: Terms) -> bool:
    """Tell whether there are latent sites outside the data plate."""
    return terms.whole is not None and bool(terms.whole.sites)


@torch.no_grad()
def _one_draw(given: Conditioned, seed: int) -> Terms:
    # As many data as a pass takes: a guide with parameters of each datum cannot run on one.
    few = given[: pass_size(given.x, 1)[0]]
    model, guide, batch = with_indices(*few.programs, few.batch)
    with evaluating(model, guide, seed=seed, device=few.x.device):
        return run_terms(model, guide, batch, {}, 1, "score", both_levels=True)
