"""Compare log p(x) by two methods that fail in different ways, with one another and with the ELBO.

The importance bound starts from the guide and is too low where the guide misses mass; annealed importance sampling
starts from the prior and is too low where the path is walked too fast. Both are lower bounds in expectation, so the
larger one is the better (Burda et al. 2016, https://arxiv.org/abs/1509.00519; Neal 2001,
https://arxiv.org/abs/physics/9803008).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted, named
from ppl_vae.diagnostics.importance.given_global import mean_over_draws
from ppl_vae.diagnostics.importance.importance import run_importance
from ppl_vae.diagnostics.verdict import ERRORS, Level, Verdict, require_finite, require_numbers, require_table
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.evidence.evidence import log_evidence
from ppl_vae.inference.evidence.haste import haste_untold
from ppl_vae.inference.pair.admission import together
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

# How far apart, in nats, two methods may lie that are said to agree: this package's own.
AGREEMENT, APART = 0.1, 0.5
STREAM = 73
INSTEAD = "run_global_importance estimates log p of the whole set"
MEANS = {
    "elbo": "ELBO",
    "importance": "importance bound on log p(x)",
    "annealed": "annealed importance sampling of log p(x)",
}


@by_keyword("seed")
def run_evidence(
    pair: PairLike,
    x: Data,
    weights: xr.Dataset | None = None,
    num_annealed: int = 32,
    num_chains: int = 16,
    num_temperatures: int = 500,
    *,
    num_global: int = 4,
    seed: int = 0,
) -> xr.Dataset:
    """Estimate ELBO, importance bound, and on the first of the data annealed importance sampling.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape].
        weights: what ``run_importance`` returned for these data; run anew by default.
        num_annealed: how many of the data are annealed.
        num_chains: chains per datum there.
        num_temperatures: steps of the path from the prior to the posterior.
        num_global: draws of the global sites g of a pair that has any, at each of which both methods estimate
            log p(x_n | g); the numbers are their averages. Of ``weights`` the number of draws is taken then.
        seed: of all draws; torch's global generators are left as they were.

    Returns:
        Over "datum": ``elbo``, ``importance`` and ``annealed`` with their Monte-Carlo errors, in nats; NaN where a
        datum was not annealed. Where annealing is refused, as for a discrete latent site, the attribute
        ``why_not_annealed`` says why.

    Raises:
        ModelError: the pair or a setting is refused; it is named.
        DataError: x is empty, the likelihood has no density for some value, or the weights are of other data.
    """
    given = admitted(pair, x)
    if weights is not None and weights.sizes["datum"] != len(given):
        raise DataError(f"weights: expected those of {len(given)} data, found {weights.sizes['datum']}")
    walk = _Walk(num_annealed, num_chains, num_temperatures, seed)
    source = derived_seed(seed, STREAM)
    held = at_global_draws(given, integer("num_global", num_global), source, INSTEAD)
    if not held:
        weights = run_importance(pair, x, seed=seed) if weights is None else weights
        return named(_table(Pair(*given.programs, as_pair(pair).source), given, weights, walk), given.labels)
    draws = {} if weights is None else {"num_samples": weights.attrs["num_samples"]}
    tables = []
    for each in held:
        at_draw = Pair(*each.programs, as_pair(pair).source)
        tables.append(
            _table(at_draw, each, run_importance(at_draw, together(each.batch), seed=seed, **draws), walk)
        )
    return named(mean_over_draws(tables), given.labels)


@dataclass(frozen=True)
class _Walk:
    """How many of the data are annealed, and by which walk."""

    num_annealed: int
    num_chains: int
    num_temperatures: int
    seed: int


def _table(by_position: Pair, given: Conditioned, weights: xr.Dataset, walk: _Walk) -> xr.Dataset:
    """The estimates of a pair of one level."""
    count, few = len(given), tuple(part[: walk.num_annealed] for part in given.batch)
    annealed, why_not = np.full((2, count), np.nan), ""
    try:
        # The verdict says where annealing was too fast.
        with haste_untold():
            walked = log_evidence(
                by_position,
                together(few),
                "ais",
                walk.num_chains,
                seed=walk.seed,
                num_temperatures=walk.num_temperatures,
            )
        found = torch.stack([walked.per_datum, walked.per_datum_stderr])
        annealed[:, : found.shape[1]] = found.cpu().numpy()
    except ModelError as refusal:
        why_not = str(refusal)
    columns = {
        "elbo": weights["elbo"],
        "elbo_stderr": weights["elbo_stderr"],
        "importance": weights["log_evidence"],
        "importance_stderr": weights["log_evidence_stderr"],
        "annealed": annealed[0],
        "annealed_stderr": annealed[1],
    }
    attributes = {
        "num_chains": walk.num_chains,
        "num_temperatures": walk.num_temperatures,
        "seed": walk.seed,
    }
    return xr.Dataset(
        {name: ("datum", np.asarray(values), {"units": "nats"}) for name, values in columns.items()},
        {"datum": range(count)},
        attributes | {"num_samples": weights.attrs["num_samples"], "why_not_annealed": why_not},
    )


@renamed(table="numbers")
def check_evidence(numbers: xr.Dataset) -> Verdict:
    """Judge whether the two methods agree, where both were run.

    The difference is known to two standard errors of its mean; upwards also to the first order of annealing's
    own bias, half the variance of a datum's mean weight.

    Returns:
        The figure is the mean importance bound with its error over data and draws. "good" where annealing is known
        to find neither 0.1 nats more nor as much less, "doubtful" where it is known to find more than 0.1 and
        "bad" where it is known to find more than 0.5; "unknown" where it was not run, finds less, or the
        difference is not known well enough to say.

    Raises:
        DataError: the numbers are none of ``run_evidence``, or some are NaN or infinite.
    """
    columns = ("elbo", "importance", "importance_stderr", "annealed", "annealed_stderr")
    require_table("table", numbers, "run_evidence", columns, ("datum",))
    require_numbers("table", numbers, but=("annealed", "annealed_stderr"))
    mean, error = _mean(numbers["importance"])
    gap, _ = _mean(numbers["importance"] - numbers["elbo"])
    level, second, advice = _second_method(numbers)
    return Verdict(
        "log p(x)",
        level,
        mean,
        error,
        "nats per datum",
        f"annealing finds at most {AGREEMENT:g} nats more, bad above {APART:g} (this package's own)",
        f"{gap:.2f} nats above the ELBO by {numbers.attrs['num_samples']} draws per datum. {second}",
        advice,
    )


def _second_method(table: xr.Dataset) -> tuple[Level, str, str]:
    """Judge the estimate of annealing: its level, words and advice."""
    both = table.where(table["annealed"].notnull(), drop=True)
    if not both.sizes["datum"]:
        return "unknown", f"There is no second method: {table.attrs['why_not_annealed']}.", ""
    require_finite("table", "annealed", both["annealed"])
    more, error, bias = _difference(both)
    known = "with an error that is not known" if math.isnan(error) else f"± {error:.2f}"
    which = "more" if more > 0 else "less"
    words = f"Annealing finds {abs(more):.2f} {known} nats {which} on {both.sizes['datum']} of the data"
    low, high = more - ERRORS * error, more + ERRORS * error + bias
    if low > AGREEMENT:
        advice = "See k-hat; take annealing's figure, or a wider posterior family."
        return "bad" if low > APART else "doubtful", f"{words}: the importance bound is too low.", advice
    if low >= -AGREEMENT and high <= AGREEMENT:
        return "good", f"{words}: the two methods agree.", ""
    if high < -AGREEMENT:
        return (
            "unknown",
            f"{words}: annealing was too fast to be a check.",
            "Anneal with more temperatures or chains.",
        )
    more_of = "Anneal more data, with more chains or temperatures."
    return "unknown", f"{words}: the error is too wide to say whether the two methods agree.", more_of


def _mean(values: xr.DataArray) -> tuple[float, float]:
    count = values.size
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan


def _difference(both: xr.Dataset) -> tuple[float, float, float]:
    """Compute the mean difference on these data, its Monte-Carlo error, and how much annealing may be too low."""
    count, annealed = both.sizes["datum"], both["annealed_stderr"].to_numpy() ** 2
    error = math.sqrt(float((annealed + both["importance_stderr"].to_numpy() ** 2).sum())) / count
    return float((both["annealed"] - both["importance"]).mean()), error, float(annealed.mean()) / 2
