r"""The posterior of a whole data set by HMC, of pairs with global sites g: one chain walks over all sites at once.

    log p(g, z_1, ..., z_N | x_1, ..., x_N)    against    q(g) prod_n q(z_n | x_n, g)

The draws of the global sites are compared together, and those of every datum's local sites on their own, as
marginals over g. Chains cannot be cut: every gradient needs all data, so that this is for small data.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from ppl_vae.diagnostics.reference.tables import draws_tables, with_c2st
from ppl_vae.inference.chains.chains import Chains, Draws, frozen
from ppl_vae.inference.chains.whole_latents import WholeLatents
from ppl_vae.inference.evidence.annealed import chains_per_pass
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.global_draws import FEWEST
from ppl_vae.inference.pair.learned import PLAIN, recall
from ppl_vae.inference.pair.runs import run_terms

# Before the names of the numbers of the global sites.
GLOBAL = "global_"
# The one datum of the table of global sites.
ALL_DATA = "all data"
Values = Mapping[str, np.ndarray]


def whole_reference(
    given: Conditioned, num_samples: int, warmup: int, num_chains: int, seed: int, stream: int, memory_limit: int
) -> xr.Dataset:
    """Draw from the posterior of all sites at once, and hold the guide's draws against them.

    Args:
        given: the pair and all its data.
        num_samples: draws per chain after the warm-up.
        warmup: transitions of adaptation, about.
        num_chains: at least 2.
        seed: of the classifiers.
        stream: the seed of the draws.
        memory_limit: bytes that the activations of a pass may take, roughly.

    Returns:
        As ``run_reference`` says of pairs with global sites.
    """
    programs = given.programs
    with evaluating(*programs, seed=stream, device=given.x.device), frozen(*programs), torch.no_grad():
        latents, chains = _chains(given, warmup, num_chains)
        draws = chains.draw(num_samples)
        values = _by_chain(latents, draws)
        guided = _guided(given, latents, num_samples * num_chains, memory_limit)
    facts = {
        "divergences": int(draws.divergences),
        "acceptance": float(draws.acceptance),
        "num_leapfrog": int(chains.lengths),
        "gradients": int(chains.gradients),
    }
    return _tables(latents, values, guided, seed).assign({name: ((), fact) for name, fact in facts.items()})


def _chains(given: Conditioned, warmup: int, num_chains: int) -> tuple[WholeLatents, Chains]:
    """Warm chains up, one from a draw of the guide and the others from the prior."""
    terms = run_terms(*given.programs, given.batch, {}, FEWEST, both_levels=True)
    known = recall(*given.programs) or PLAIN
    latents = WholeLatents(given.model, given.x, known.group_plates)
    start = torch.cat([latents.pack(terms.drawn)[:1], latents.prior_draw(num_chains - 1)])
    return latents, Chains(lambda _: latents, start, warmup, grouped=False)


def _by_chain(latents: WholeLatents, draws: Draws) -> Values:
    """The draws by site, [N, chain, draw, *event]; N is 1 of a global site."""
    num_chains, num_samples = draws.position.shape[:2]
    values, _ = latents.unpack(draws.position.flatten(0, 1))
    return {
        name: value.transpose(0, 1).unflatten(1, (num_chains, num_samples)).cpu().double().numpy()
        for name, value in latents.ordered(values).items()
    }


def _guided(given: Conditioned, latents: WholeLatents, num_draws: int, memory_limit: int) -> Values:
    """Draw from the guide in parts that keep to a limit: [N, draw, *event] by site; N is 1 of a global site."""
    size = max(FEWEST, num_draws * chains_per_pass(given.x, num_draws, memory_limit) // len(given))
    counts = [size] * (num_draws // size) + [max(FEWEST, num_draws % size)] * bool(num_draws % size)
    parts = []
    for count in counts:
        terms = run_terms(*given.programs, given.batch, {}, count, both_levels=True)
        parts.append(latents.ordered(terms.drawn))
    joined = {name: torch.cat([part[name] for part in parts])[:num_draws] for name in parts[0]}
    return {name: value.transpose(0, 1).cpu().double().numpy() for name, value in joined.items()}


def _tables(latents: WholeLatents, values: Values, guided: Values, seed: int) -> xr.Dataset:
    """The table of the local sites over "datum", and beside it that of the global ones, named global_..."""
    local = [name for name in values if name not in latents.whole]
    found = xr.Dataset()
    if local:
        of_data, of_guide = ({name: each[name] for name in local} for each in (values, guided))
        found = with_c2st(xr.concat(draws_tables(of_data, of_guide, {}, list(values)), "datum"), seed)
    if latents.whole:
        whole = [name for name in values if name in latents.whole]
        of_set, of_guide = ({name: each[name] for name in whole} for each in (values, guided))
        rows = draws_tables(of_set, of_guide, {}, list(values))
        table = with_c2st(xr.concat(rows, "datum"), seed).isel(datum=0)
        numbers = [name for name in table if name not in whole and str(name).removeprefix("guide_") not in whole]
        found = xr.merge([found, table.rename({name: f"{GLOBAL}{name}" for name in numbers})])
    return found.transpose("datum", ..., missing_dims="ignore")


def of_global_sites(numbers: xr.Dataset) -> xr.Dataset:
    """The numbers of the global sites as a table of one datum, the data set."""
    kept = [str(name) for name in numbers if str(name).startswith(GLOBAL)]
    table = numbers[[*kept, "divergences"]].rename({name: name.removeprefix(GLOBAL) for name in kept})
    return table.expand_dims(datum=np.array([ALL_DATA])).assign_attrs(numbers.attrs)
