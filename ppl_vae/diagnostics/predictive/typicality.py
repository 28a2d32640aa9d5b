r"""Are the data like what the model simulates?

Two statistics of a datum are held against those of data simulated from the model, all by the same estimator and
the same number of draws, so that its error is in both and the p-values stay exact:

    log p(x)   by importance sampling; improbable and too probable are both atypical (Nalisnick et al. 2019)
    distance   of the code, the guide's mean, from the simulated codes' mean in their covariance; far is atypical

Of a pair with global sites g both are those of the predictive law E_q(g) p(x | g), and each simulated datum has a
draw of g of its own.

The rank of a datum among m simulated ones is a p-value, (1 + how many are as extreme) / (1 + m), uniform where the
data are the model's (Vovk, Gammerman & Shafer 2005). The smaller of the two p-values is ranked once more among the
simulated data's own, each of which is taken with the datum beside it: a p-value of both that is at most t with a
probability of at most t. The set is judged under the false-discovery control of Benjamini & Hochberg (1995), which
holds for p-values that share their simulations (Bates et al. 2023).

Nalisnick, Matsukawa, Teh & Lakshminarayanan 2019, https://arxiv.org/abs/1906.02994
Bates, Candès, Lei, Romano & Sesia 2023, https://doi.org/10.1214/22-AOS2244
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted, has_global_sites
from ppl_vae.diagnostics.verdict import Level, Verdict, level_of, require_finite, require_table, share_stderr
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.importance import delta_stderr, weight_blocks
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword

STREAM = 63
GLOBAL_DRAWS = 10
# Data that are ranked together.
BLOCK = 1024
INSTEAD = "run_predictive replicates whole data sets"
FALSE_DISCOVERIES = 0.1
# This package's own: the share of data found foreign up to which a set is good, and above which it is bad.
GOOD_SHARE, BAD_SHARE = 0.01, 0.1
DESCRIPTIONS = {
    "log_evidence": "log p(x) by importance sampling, nats",
    "log_evidence_stderr": "its Monte-Carlo error",
    "distance": "squared Mahalanobis distance of the code in the aggregate of simulated codes",
    "p_evidence": "two-sided p-value of log p(x)",
    "p_evidence_stderr": "its Monte-Carlo error: of log p(x) and of the number of simulations",
    "p_distance": "p-value of the distance",
    "p_value": "of both together",
    "foreign": "1 where the false-discovery control rejects",
}


@by_keyword("seed")
def run_typicality(
    pair: PairLike,
    x: Data,
    num_simulations: int = 1000,
    num_samples: int = 100,
    *,
    false_discoveries: float = FALSE_DISCOVERIES,
    memory_limit: int = MEMORY_LIMIT,
    seed: int = 0,
) -> xr.Dataset:
    """Compute for every datum how unlike the model's own data it is.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape].
        num_simulations: data drawn from the model, at least 40; half of them place the aggregate of codes. The
            smallest p-value is 2 / (2 + num_simulations).
        num_samples: importance draws of every datum, at least 25.
        seed: of the simulations and draws.
        false_discoveries: the expected share of false ones among the data that are called foreign.
        memory_limit: bytes that the activations of a pass may take, roughly.

    Returns:
        Over "datum": log_evidence and its error, distance, p_evidence and its error, p_distance, p_value, foreign.
        Over "simulation": simulated_log_evidence, simulated_distance, of the half that is compared with.

    Raises:
        ModelError: the pair is refused, or its model cannot be drawn from.
        DataError: x is empty, or the likelihood has no density for some value.
    """
    integer("num_simulations", num_simulations, least=40)
    integer("num_samples", num_samples, least=25)
    if not 0 < false_discoveries < 1:
        raise ModelError(f"false_discoveries must lie between 0 and 1, got {false_discoveries}")
    given = admitted(pair, x)
    source = derived_seed(seed, STREAM)
    # In no order, so that both halves of the simulations have covariates of the same law as the data.
    mixed = torch.randperm(num_simulations, generator=torch.Generator().manual_seed(derived_seed(source, 5)))
    some = given[given.lenders(num_simulations)[mixed.to(given.x.device)]]
    has_global = has_global_sites(given, seed)
    if has_global:
        simulated = _from_own_draws(given, some, source)
    else:
        with evaluating(*given.programs, seed=source, device=given.x.device):
            simulated = some.with_batch(simulate(some.programs[0], *some.batch).batch)
    # The same draws for both, so that what they leave of error is the same for all that is compared.
    count = min(GLOBAL_DRAWS, num_samples // 2)
    held = at_global_draws(given, count, derived_seed(source, 4), INSTEAD) if has_global else []
    ours = _statistics(given, held, num_samples, derived_seed(source, 1), memory_limit)
    theirs = _statistics(simulated, held, num_samples, derived_seed(source, 2), memory_limit)
    half = num_simulations // 2
    place = _Aggregate(theirs["code"][:half])
    theirs = {name: values[half:] for name, values in theirs.items()}
    table = _p_values(ours, theirs, place)
    table["foreign"] = discoveries(table["p_value"], false_discoveries).astype(np.int64)
    described = {name: ("datum", table[name], {"description": text}) for name, text in DESCRIPTIONS.items()}
    compared = {
        "simulated_log_evidence": ("simulation", theirs["log_evidence"]),
        "simulated_distance": ("simulation", place.distance(theirs["code"])),
    }
    settings = {"num_simulations": num_simulations, "num_samples": num_samples, "seed": seed}
    return xr.Dataset(described | compared, attrs={**settings, "false_discoveries": false_discoveries})


def _from_own_draws(given: Conditioned, some: Conditioned, seed: int) -> Conditioned:
    """Simulate data each at a draw of the global sites of its own: independent draws of the predictive law."""
    held = at_global_draws(given, len(some), seed, INSTEAD)
    drawn = []
    for row, each in enumerate(held):
        with evaluating(*given.programs, seed=derived_seed(seed, 3, row), device=given.x.device):
            drawn.append(simulate(each.programs[0], *some[row : row + 1].batch).batch)
    return some.with_batch(tuple(torch.cat(parts) for parts in zip(*drawn, strict=True)))


class _Aggregate:
    """The place and spread of codes [M, U]."""

    def __init__(self, codes: NDArray[np.float64]) -> None:
        self.mean = codes.mean(0)
        covariance = np.atleast_2d(np.cov(codes, rowvar=False))
        # A collapsed coordinate has no spread: what leaves it is infinitely far but for rounding.
        self.precision = np.linalg.pinv(covariance, hermitian=True)

    def distance(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The squared distance of codes [n, U]: [n]."""
        difference = codes - self.mean
        return np.einsum("nu,uv,nv->n", difference, self.precision, difference)


def _statistics(
    given: Conditioned, held: Sequence[Conditioned], num_samples: int, seed: int, memory_limit: int
) -> dict[str, NDArray[np.float64]]:
    """Estimate log p(x) [n], its error, and the code [n, U]; over the draws of global sites that are ``held``."""
    if not held:
        return _at_one_level(given, num_samples, seed, memory_limit, False)
    tables = [
        _at_one_level(given.under(each), num_samples // len(held), derived_seed(seed, number), memory_limit, True)
        for number, each in enumerate(held)
    ]
    log_density = torch.from_numpy(np.stack([table["log_evidence"] for table in tables]))
    return {
        "log_evidence": log_mean_exp(log_density).numpy(),
        "log_evidence_stderr": delta_stderr(log_density).numpy(),
        "code": np.mean([table["code"] for table in tables], 0),
    }


def _at_one_level(
    given: Conditioned, num_samples: int, seed: int, memory_limit: int, any_plates: bool
) -> dict[str, NDArray[np.float64]]:
    rows: dict[str, list[Tensor]] = {"log_evidence": [], "log_evidence_stderr": [], "code": []}
    blocks = weight_blocks(
        *given.programs, given.x, num_samples, seed, memory_limit, True, given.covariates, any_plates
    )
    for block in blocks:
        rows["log_evidence"].append(log_mean_exp(block.log_weight))
        rows["log_evidence_stderr"].append(delta_stderr(block.log_weight))
        codes = [value.double().mean(0).reshape(value.shape[1], -1) for value in block.values.values()]
        rows["code"].append(torch.cat(codes, 1))
    return {name: torch.cat(parts).cpu().double().numpy() for name, parts in rows.items()}


def _p_values(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], place: _Aggregate
) -> dict[str, NDArray[np.float64]]:
    far, far_theirs = place.distance(ours["code"]), place.distance(theirs["code"])
    evidence, evidence_theirs = ours["log_evidence"], theirs["log_evidence"]
    p_evidence = two_sided(evidence, evidence_theirs)
    p_distance = 1 - _below(far, far_theirs)
    count = len(evidence_theirs)
    shifted = [two_sided(evidence + sign * ours["log_evidence_stderr"], evidence_theirs) for sign in (-1, 1)]
    of_evidence = np.abs(shifted[1] - shifted[0]) / 2
    return {
        "log_evidence": evidence,
        "log_evidence_stderr": ours["log_evidence_stderr"],
        "distance": far,
        "p_evidence": p_evidence,
        "p_evidence_stderr": np.hypot(of_evidence, np.sqrt(p_evidence * (1 - p_evidence) / count)),
        "p_distance": p_distance,
        "p_value": of_both(np.stack([evidence, far]), np.stack([evidence_theirs, far_theirs])),
    }


def of_both(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smaller p-value of each datum, ranked among those of the simulated data: [n].

    Those are taken anew for each datum with it among the simulated ones: only where it may change places with any
    of them is its rank uniform. Ranks are whole numbers, so that rounding makes and breaks no tie.

    Args:
        ours: log p(x) and distance of the data [2, n].
        theirs: of the simulated data [2, m].
    """
    count, own = theirs.shape[1], _as_extreme(theirs, theirs).sum(2)
    found = []
    for part in np.split(ours, range(BLOCK, ours.shape[1], BLOCK), axis=1):
        least = _least(1 + _as_extreme(theirs, part).sum(2))
        with_it = _least(own[..., None] + _as_extreme(part, theirs))
        found.append((1 + (with_it <= least).sum(0)) / (1 + count))
    return np.concatenate(found)


def _as_extreme(others: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which of others [2, b] are as low, as high and as far as each of some data [2, a]: [3, a, b]."""
    log_p, far = of[..., None]
    return np.stack([others[0] <= log_p, others[0] >= log_p, others[1] >= far])


def _least(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smaller p-value, in units of the smallest there can be, of ranks as low, as high and as far [3, ...]."""
    return np.minimum(2 * np.minimum(ranks[0], ranks[1]), ranks[2])


def two_sided(values: NDArray[np.float64], simulated: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two-sided p-values of values [n] among simulated ones [m]: [n]."""
    count = len(simulated)
    low = (1 + (simulated[:, None] <= values).sum(0)) / (1 + count)
    high = (1 + (simulated[:, None] >= values).sum(0)) / (1 + count)
    return np.minimum(1.0, 2 * np.minimum(low, high))


def _below(values: NDArray[np.float64], simulated: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of simulated ones [m] that are less than values [n], so that 1 less it is a p-value: [n]."""
    return (simulated[:, None] < values).sum(0) / (1 + len(simulated))


def discoveries(p_values: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Mark what is rejected at a false-discovery rate (Benjamini & Hochberg 1995): [n]."""
    order = np.argsort(p_values)
    limits = rate * np.arange(1, len(p_values) + 1) / len(p_values)
    passed = np.flatnonzero(p_values[order] <= limits)
    rejected = np.zeros(len(p_values), dtype=bool)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected


def check_typicality(numbers: xr.Dataset) -> Verdict:
    """Judge how many data are unlike what the model simulates.

    Args:
        numbers: of ``run_typicality``.

    Returns:
        "good" where at most 1% of the data are called foreign, "bad" above 10%, "doubtful" between (this package's
        own limits), each by two standard errors of the share of so many data; "unknown" where these reach across
        1%, as of fewer than 200 data they always do, or where the simulations are too few to call a single datum
        foreign.

    Raises:
        DataError: the table is another, or a p-value is NaN or infinite.
    """
    require_table("table", numbers, "run_typicality", ("p_value", "foreign"), ("datum",))
    require_finite("table", "p_value", numbers["p_value"])
    count, foreign = numbers.sizes["datum"], int(numbers["foreign"].sum())
    share, rate = foreign / count, float(numbers.attrs["false_discoveries"])
    error = share_stderr(share, count)
    least = 1 / (1 + numbers.sizes["simulation"])
    blind = foreign == 0 and least > rate * max(1, math.floor(GOOD_SHARE * count) + 1) / count
    level: Level = "unknown" if blind else level_of(share, error, GOOD_SHARE, BAD_SHARE)
    words = (
        f"{foreign} of {count} data are unlike what the model simulates, at a false-discovery rate of {rate:.0%}."
    )
    if blind:
        words += f" The smallest p-value that the simulations can give is {least:.2g}: too large to find a few."
    elif level == "unknown":
        words += f" Of {count} data this does not decide whether more than {GOOD_SHARE:.0%} are."
    advice = {
        "good": "",
        "unknown": "Take more simulations, or more data.",
        "doubtful": "Look at the data with the smallest p-values.",
        "bad": "The data are not the model's: check their preparation, or train on data like these.",
    }[level]
    threshold = f"good up to {GOOD_SHARE:.0%} of the data, bad above {BAD_SHARE:.0%} (this package's own)"
    return Verdict(
        "Typicality",
        level,
        share,
        error,
        "of the data called foreign",
        threshold,
        words,
        advice,
    )
