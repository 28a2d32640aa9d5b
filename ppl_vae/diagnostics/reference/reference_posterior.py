r"""The reference posterior of many data: HMC on p(z | x_n) with the decoder fixed, and the guide's distance.

All chains of all data run at once (``inference.chains``). The first chain of a datum starts at a draw of the guide,
the others at draws of the prior, so that a mode that the guide does not know can be found; chains that all start on
one side of a deep valley will still miss the other. R-hat and the effective sample size are ArviZ's (Vehtari et al.
2021, https://arxiv.org/abs/1903.08008).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted, named, needs_all_sites
from ppl_vae.diagnostics.reference.tables import draws_tables, with_c2st
from ppl_vae.diagnostics.reference.whole_reference import (
    ALL_DATA,
    GLOBAL,
    of_global_sites,
    whole_reference,
)
from ppl_vae.diagnostics.verdict import Level, Verdict, level_of, require_finite, require_table
from ppl_vae.errors import ModelError
from ppl_vae.inference.chains import Chains, frozen
from ppl_vae.inference.chains.chains import may_be_parted
from ppl_vae.inference.evidence.annealed import chains_per_pass
from ppl_vae.inference.evidence.unconstrained import LatentVector
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.progress import advance, watched
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

REFERENCE_STREAM = 41
# What a chain must reach for its draws to stand for the posterior (Vehtari et al. 2021).
RHAT, ESS = 1.01, 400
# The best accuracy on two Gaussians whose means are half and one posterior standard deviation apart.
GOOD, BAD = 0.6, 0.69


@renamed(warmup="num_warmup")
@by_keyword("seed", "progress")
def run_reference(
    pair: PairLike,
    x: Data,
    num_samples: int = 1000,
    num_warmup: int = 500,
    num_chains: int = 4,
    *,
    progress: bool | None = None,
    memory_limit: int = MEMORY_LIMIT,
    seed: int = 0,
) -> xr.Dataset:
    """Draw from p(z|x) of all data at once by HMC and hold the guide's draws against it.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs; nothing in it is trained.
        x: [N, *event_shape]; a hundred take little longer than one.
        num_samples: draws per chain after the warm-up.
        num_warmup: transitions in which step size, metric and trajectory length are adapted, about.
        num_chains: at least 2, of every datum.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody.
        memory_limit: bytes that the activations of a pass may take, roughly.
        seed: torch's global generators are left as they were.

    Returns:
        For every latent site its draws, named as the site: [datum, chain, draw, latent], and as many of the guide,
        named "guide_SITE": [datum, guide_draw, latent]. Over "datum": ``rhat`` (the largest) and ``ess`` (the
        smallest) over latent dimensions, ``divergences``, ``acceptance``, ``num_leapfrog`` (steps of a trajectory),
        ``gradients`` (evaluations over all chains, the warm-up included), and the distances between the two sets
        of draws, taken from as many draws of the chains as are worth their effective sample size.

        Of a pair with global sites the chains walk over all sites of all data at once (NUTS's place is taken by HMC
        with an adapted length): global sites are named [chain, draw, ...] and guide_SITE [guide_draw, ...], their
        numbers stand beside those over "datum" under the same names with global_ in front, and the facts of the
        chains are single numbers. The numbers over "datum" are then of the local sites as marginals.

    Raises:
        ModelError: a latent site is discrete or has the name of a number of the table, or the pair or a setting is
            refused; it is named.
        DataError: the data are empty, or the likelihood has no density for some value.
    """
    num_samples, num_warmup = (
        integer("num_samples", num_samples, least=20),
        integer("num_warmup", num_warmup, least=20),
    )
    num_chains, seed = integer("num_chains", num_chains, least=2), integer("seed", seed, least=None)
    given = admitted(pair, x)
    settings = {"num_samples": num_samples, "warmup": num_warmup, "num_chains": num_chains, "seed": seed}
    if needs_all_sites(given, seed):
        stream = derived_seed(seed, REFERENCE_STREAM)
        table = whole_reference(given, num_samples, num_warmup, num_chains, seed, stream, memory_limit)
        return named(table, given.labels).assign_attrs(settings)
    size = chains_per_pass(given.x, num_chains, memory_limit)
    tables: list[xr.Dataset] = []
    with watched(len(given), "datum", progress):
        for batch in given.split(size):
            stream = derived_seed(seed, REFERENCE_STREAM, len(tables))
            tables += _of_batch(batch, num_samples, num_warmup, num_chains, stream, memory_limit)
            advance(len(batch))
    table = named(with_c2st(xr.concat(tables, "datum"), seed), given.labels)
    return table.assign_attrs(settings)


def _of_batch(
    given: Conditioned, num_samples: int, warmup: int, num_chains: int, stream: int, memory_limit: int
) -> list[xr.Dataset]:
    """Run the chains of some data at once; a table for each."""
    programs = given.programs
    with evaluating(*programs, seed=stream, device=given.x.device), frozen(*programs), torch.no_grad():
        latents, chains = _chains(given, warmup, num_chains)
        draws = chains.draw(num_samples)
        guided = _guided(given, num_samples * num_chains, memory_limit)
        values = _values(latents, draws.position)
    facts = {
        "divergences": draws.divergences.cpu().numpy(),
        "acceptance": draws.acceptance.cpu().double().numpy(),
        "num_leapfrog": chains.lengths.numpy(),
        "gradients": chains.gradients.numpy(),
    }
    return draws_tables(values, guided, facts, list(values))


def _chains(given: Conditioned, warmup: int, num_chains: int) -> tuple[LatentVector, Chains]:
    """Warm chains up, of every datum one from a draw of the guide and the others from the prior."""

    def latents_of(which: Tensor | None) -> LatentVector:
        some = given if which is None else given[which]
        return LatentVector(some.model, some.x)

    latents = latents_of(None)
    start = torch.cat([latents.pack(_guide_values(given, 1)), latents.prior_draw(num_chains - 1)])
    return latents, Chains(latents_of, start, warmup, grouped=may_be_parted(*given.programs, given.batch))


def _guide_values(given: Conditioned, num_draws: int) -> dict[str, Tensor]:
    """Draw from the guide: [K, N, *event] by site of the model."""
    terms = run_terms(given.model, given.guide, (given.x,), {}, num_draws)
    require_unmasked(terms)
    return {name: site.value for name, site in terms.sites.items() if site.p is not None}


def _guided(given: Conditioned, num_draws: int, memory_limit: int) -> dict[str, np.ndarray]:
    """Draw from the guide in parts that keep to a limit: [datum, draw, *event] by site of the model."""
    size = max(1, num_draws * chains_per_pass(given.x, num_draws, memory_limit) // len(given))
    counts = [size] * (num_draws // size) + [num_draws % size] * bool(num_draws % size)
    parts = [_guide_values(given, count) for count in counts]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: value.transpose(0, 1).cpu().double().numpy() for name, value in joined.items()}


def _values(latents: LatentVector, position: Tensor) -> dict[str, np.ndarray]:
    """Turn u [C, S, N, D] into latent values [datum, chain, draw, *event] by site."""
    num_chains, num_draws = position.shape[:2]
    values, _ = latents.unpack(position.flatten(0, 1))
    return {
        name: value.transpose(0, 1).reshape(-1, num_chains, num_draws, *value.shape[2:]).cpu().double().numpy()
        for name, value in values.items()
    }


@renamed(table="numbers")
def check_reference(numbers: xr.Dataset, sites: str | None = None) -> Verdict:
    """Judge whether the guide can be told from the reference posterior.

    Args:
        numbers: of ``run_reference``.
        sites: "global" for those of all data together, "local" for those of each datum; None takes the global
            ones where there are any.

    Returns:
        The mean C2ST over the data whose chains have settled: R-hat below 1.01 and more than 400 effective
        draws. "good" if it is below 0.6 by two standard errors, "bad" if it is above 0.69 by as much;
        "unknown" where no datum's chains have settled, or the error reaches across 0.6.

    Raises:
        DataError: the table is another, or the distance of settled chains is NaN or infinite.
        ModelError: sites is neither, or there are none such.
    """
    numbers, name = _of_sites(numbers, sites)
    require_table("table", numbers, "run_reference", ("c2st", "c2st_stderr", "rhat", "ess"), ("datum",))
    settled = ((numbers["rhat"] < RHAT) & (numbers["ess"] > ESS)).to_numpy()
    missing = f" On {(~settled).sum()} of {len(settled)} data the chains have not settled"
    unsettled = "" if settled.all() else missing
    advice = "More warm-up and draws; if R-hat stays, the posterior has several modes: look at the pair plot."
    threshold = "C2ST (Lopez-Paz & Oquab 2017) of 0.6 and 0.69, as of means 0.5 and 1 posterior sd apart"
    if not settled.any():
        worst = float(numbers["rhat"].max())
        least = float(numbers["ess"].min())
        words = f"{unsettled.strip()} (R-hat up to {worst:.2f}, {least:.0f} effective draws or more): no reference."
        return Verdict(name, "unknown", math.nan, threshold=threshold, words=words, advice=advice)
    kept = numbers.isel(datum=np.flatnonzero(settled))
    require_finite("table", "c2st", kept["c2st"])
    value = float(kept["c2st"].mean())
    error = float(np.linalg.norm(kept["c2st_stderr"])) / kept.sizes["datum"]
    level = level_of(value, error, GOOD, BAD)
    words = _described(kept, level) + (f"{unsettled}; they are left out." if unsettled else "")
    if level == "unknown":
        advice = "Take more draws: the error is too wide for a verdict."
        return Verdict(name, level, value, error, "", threshold, words, advice)
    better = "Look at the pair plot of the worst datum; then at the gaps, which tell the family from the encoder."
    return Verdict(name, level, value, error, "", threshold, words, "" if level == "good" else better)


def _of_sites(numbers: xr.Dataset, sites: str | None) -> tuple[xr.Dataset, str]:
    """The numbers of the sites that are judged, and what the verdict is called."""
    has_global = f"{GLOBAL}c2st" in numbers
    if sites not in (None, "local", "global"):
        raise ModelError(f"sites must be 'local', 'global' or None, got {sites!r}")
    if (sites == "global" and not has_global) or (sites == "local" and has_global and "c2st" not in numbers):
        raise ModelError(f"sites={sites!r}: the model has no {sites} sites")
    if has_global and sites != "local":
        return of_global_sites(numbers), "C2ST of global sites against HMC"
    return numbers, "C2ST against HMC"


def _described(kept: xr.Dataset, level: Level) -> str:
    means, covariances = (float(kept[f"{name}_difference"].mean()) for name in ("mean", "covariance"))
    verbs: dict[Level, str] = {"good": "can hardly be told", "unknown": "may or may not be told"}
    verb = verbs.get(level, "can be told")
    diverged = int(kept["divergences"].sum())
    said = (
        f"On {_data(kept)} the guide's draws {verb} from the posterior's: means differ by up to "
        f"{means:.2f} sd on average"
    )
    said += "." if math.isnan(covariances) else f", covariances by {covariances:.2f}."
    return said + (f" {diverged} transitions diverged." if diverged else "")


def _data(kept: xr.Dataset) -> str:
    if kept["datum"].to_numpy().tolist() == [ALL_DATA]:
        return "the global sites"
    return "1 datum" if kept.sizes["datum"] == 1 else f"{kept.sizes['datum']} data"
