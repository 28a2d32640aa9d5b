"""All scores of disentanglement against disent's MIG, DCI, SAP and FactorVAE score: the same numbers, and how long.

    OMP_NUM_THREADS=1 python benchmarks/disentanglement_speed.py [--rounds 2] [--results FILE]

Needs disent 0.8 and lightning in an environment of its own. disent imports torchvision for a network that no metric
uses; where torchvision does not fit the torch that is installed, empty modules of its name do. The data are 10,000
codes of 10 dimensions, one for each state of 5 factors with 4, 5, 5, 10 and 10 levels: five dimensions follow one
factor each with noise, three mix two factors, two are noise.

Agreement comes first: disent's own functions for MIG, SAP and DCI on the very points that ours reads, with the
learner that disent has, gradient boosting (ours is by default the paper's random forest). Then disent as it is
called: it draws 10,000 points to learn from, 5,000 to judge, and its batches, from the 10,000 states, here by
looking up codes. Those that it judges are in part those that it learned from, so that its informativeness comes out
higher than ours, which is of data held out. Rounds are interleaved; the ratio is of processor seconds, which
neighbours on the machine change less than seconds of a clock. "ours" are all scores alone; "ours with errors" is
``score_codes`` with standard errors, levels by chance and the effect of binning.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics import score_codes
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.factors import factor_levels
from ppl_vae.diagnostics.latent_space.disentanglement.metrics import METRICS
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "disentanglement_speed.json"
LEVELS = (4, 5, 5, 10, 10)
VOTES = 15_000
Scores = Mapping[str, float]


def states() -> NDArray[np.int64]:
    """Every state of the factors: [10000, 5]."""
    return np.array(list(itertools.product(*map(range, LEVELS))))


def codes_of(factors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Codes [10000, 10]."""
    scaled = (factors - factors.mean(0)) / factors.std(0)
    single = scaled + 0.3 * rng.normal(size=scaled.shape)
    mixed = scaled[:, :3] + scaled[:, 1:4] + 0.3 * rng.normal(size=(len(factors), 3))
    return np.concatenate([single, mixed, rng.normal(size=(len(factors), 2))], 1)


class Table:
    """What disent asks of a data set, over a table of codes: an "observation" is the code itself."""

    def __init__(self, factors: NDArray[np.int64], codes: NDArray[np.float64]) -> None:
        self.factors, self.codes = factors, codes
        self.rng = np.random.default_rng(1)
        self.gt_data = SimpleNamespace(num_factors=len(LEVELS), sample_factors=self.sample_factors)

    def sample_factors(self, size: int) -> NDArray[np.int64]:
        """States at random."""
        return self.factors[self.rng.integers(len(self.factors), size=size)]

    def dataset_batch_from_factors(self, factors: NDArray[np.int64], mode: str) -> NDArray[np.float64]:
        """The codes of states."""
        return np.asarray(self.codes[np.ravel_multi_index(tuple(factors.T), LEVELS)])

    def dataset_sample_batch(self, size: int, mode: str) -> NDArray[np.float64]:
        """Codes at random."""
        return self.dataset_batch_from_factors(self.sample_factors(size), mode)

    def dataset_sample_batch_with_factors(
        self, size: int, mode: str
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Codes at random, and their states."""
        factors = self.sample_factors(size)
        return self.dataset_batch_from_factors(factors, mode), factors


def of_disent(table: Table) -> Scores:
    """The four scores, by disent's functions at their defaults."""
    from disent import metrics

    # Its functions draw from NumPy's global stream.
    np.random.seed(0)  # noqa: NPY002
    found: dict[str, float] = {}
    for metric in (metrics.metric_mig, metrics.metric_dci, metrics.metric_sap, metrics.metric_factor_vae):
        found |= {name: float(value) for name, value in metric(table, lambda codes: codes).items()}
    return found


def ours(coded: Coded) -> Scores:
    """All scores."""
    found: dict[str, float] = {}
    for metric in METRICS.values():
        found |= metric(coded)
    return found


def ours_with_errors(coded: Coded) -> Scores:
    """All scores with what stands beside them."""
    table = score_codes(coded.codes, coded.factors.levels, votes=VOTES).isel(run=0, representation=0)
    return {str(name): float(table["stderr"].sel(metric=name)) for name in table["metric"].values}


def of_the_same_points(coded: Coded) -> dict[str, dict[str, float]]:
    """Ours and disent's MIG, SAP and DCI by gradient boosting, of the same points to learn from and to judge."""
    from disent.metrics._dci import _compute_dci
    from disent.metrics._mig import _compute_mig
    from disent.metrics._sap import _compute_sap

    np.random.seed(0)  # noqa: NPY002
    boosted = replace(coded, learner="gradient-boosting")
    split = [each[rows].T.copy() for rows in boosted.halves for each in (coded.codes, coded.factors.levels)]
    theirs = _compute_mig(coded.codes.T.copy(), coded.factors.levels.T.copy()) | _compute_dci(*split)
    theirs |= _compute_sap(*split, continuous_factors=False)
    names = {
        "mig": "mig.discrete_score", "sap": "sap.score", "dci disentanglement": "dci.disentanglement",
        "dci completeness": "dci.completeness", "dci informativeness": "dci.informativeness_test",
    }  # fmt: skip
    mine = {**METRICS["mig"](coded), **METRICS["sap"](coded), **METRICS["dci"](boosted)}
    return {name: {"ours": mine[name], "disent": float(theirs[key])} for name, key in names.items()}


def main() -> None:
    """Compare, time, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="interleaved")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file")
    options = parser.parse_args()
    factors = states()
    codes = codes_of(factors, np.random.default_rng(0))
    coded, table = Coded(codes, factor_levels(factors), votes=VOTES), Table(factors, codes)
    record: dict[str, object] = {
        "command": f"python benchmarks/disentanglement_speed.py --rounds {options.rounds}",
        "machine": f"{platform.machine()}, one thread",
        "of_the_same_points": of_the_same_points(coded),
    }
    print(record["of_the_same_points"], flush=True)
    sides: dict[str, Callable[[], Scores]] = {
        "ours": lambda: ours(Coded(codes, coded.factors, votes=VOTES)),
        "disent": lambda: of_disent(table),
        "ours with errors": lambda: ours_with_errors(coded),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, Scores] = {}
    for _ in range(options.rounds):
        for name, side in sides.items():
            started = time.process_time()
            with contextlib.redirect_stdout(None):
                scores[name] = side()
            seconds[name].append(round(time.process_time() - started, 2))
            print(name, seconds[name][-1], dict(scores[name]), flush=True)
    errors = scores.pop("ours with errors")
    record |= {"scores": scores, "standard_errors_of_ours": errors, "cpu_seconds": seconds}
    record["disent_over_ours"] = ratio(seconds["disent"], seconds["ours"])
    record["disent_over_ours_with_errors"] = ratio(seconds["disent"], seconds["ours with errors"])
    write_json(options.results, record)


def ratio(theirs: list[float], mine: list[float]) -> dict[str, float]:
    """The median ratio of a round, the least and the largest."""
    ratios = [one / other for one, other in zip(theirs, mine, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "largest": max(ratios)}


if __name__ == "__main__":
    main()
