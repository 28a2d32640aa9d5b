"""The topics of a diagnosis in one table: how each is run on a case, and how it is judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import xarray as xr
from torch import Tensor

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, simulate_posteriors
from ppl_vae.diagnostics.collapse.collapse import check_collapse, run_collapse
from ppl_vae.diagnostics.coverage.coverage import check_coverage, run_coverage
from ppl_vae.diagnostics.evidence.evidence import check_evidence, run_evidence
from ppl_vae.diagnostics.gaps.gaps import check_gaps, run_gaps
from ppl_vae.diagnostics.importance.importance import check_importance, run_importance
from ppl_vae.diagnostics.predictive.predictive import LOCAL, POPULATION, check_predictive, run_predictive
from ppl_vae.diagnostics.reference.reference_posterior import check_reference, run_reference
from ppl_vae.diagnostics.verdict import Verdict
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed

# Decoded coordinates of one topic: about half a minute of two cores for a small network.
LARGEST_RUN = 200_000_000
LEAST_DATA = 32


@dataclass(frozen=True)
class Effort:
    """How much a diagnosis draws.

    Attributes:
        num_data: data for k-hat, evidence, collapse and the predictive checks, chosen at random.
        num_samples: importance draws a datum.
        annealed_data: data whose log p(x) is found by annealing too.
        annealed_chains: chains a datum.
        annealed_temperatures: steps of the path.
        num_simulations: simulated data for calibration and coverage.
        num_draws: draws from the guide for each.
        num_replicates: replicated data sets of the predictive checks.
        gap_data: data of either split whose gaps are taken apart.
        gap_steps: optimiser steps of the per-datum fits.
        gap_particles: draws a datum and step there.
        gap_samples: importance draws a datum there.
        reference_data: data whose posterior is drawn by NUTS.
        reference_samples: draws a chain.
        reference_warmup: steps of adaptation before them.
        reference_chains: chains a datum.
    """

    num_data: int = 200
    num_samples: int = 1000
    annealed_data: int = 16
    annealed_chains: int = 8
    annealed_temperatures: int = 400
    num_simulations: int = 1000
    num_draws: int = 99
    num_replicates: int = 200
    gap_data: int = 24
    gap_steps: int = 400
    gap_particles: int = 8
    gap_samples: int = 1000
    reference_data: int = 2
    reference_samples: int = 300
    reference_warmup: int = 150
    reference_chains: int = 4

    def within(self, coordinates: int) -> Effort:
        """Fewer data where a datum has so many coordinates that all draws of all data would take too long."""
        data = LARGEST_RUN // (self.num_samples * coordinates)
        simulations = LARGEST_RUN // (self.num_draws * coordinates)
        return replace(
            self,
            num_data=min(self.num_data, max(LEAST_DATA, data)),
            num_simulations=min(self.num_simulations, max(LEAST_DATA, simulations)),
        )


FULL = Effort()
"""What a diagnosis takes where nothing else is asked for."""
QUICK = Effort(
    num_data=60,
    num_samples=500,
    annealed_data=4,
    annealed_chains=4,
    annealed_temperatures=200,
    num_simulations=200,
    num_draws=49,
    num_replicates=50,
    gap_data=8,
    gap_steps=150,
    gap_samples=500,
    reference_data=1,
    reference_samples=250,
    reference_warmup=100,
    reference_chains=2,
)
"""A first look in seconds."""


@dataclass(frozen=True)
class Case:
    """What is diagnosed.

    Attributes:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: the chosen data [n, *event_shape].
        x_train: some of the training data, or None.
        effort: how much is drawn.
        seed: of everything.
        deadline: on the clock of ``time.monotonic``; nothing is begun after it.
    """

    pair: PairLike
    x: Tensor
    x_train: Tensor | None
    effort: Effort
    seed: int
    deadline: float = math.inf

    @cached_property
    def weights(self) -> xr.Dataset:
        """Importance weights; k-hat and evidence share them."""
        return run_importance(self.pair, self.x, self.effort.num_samples, self.seed)

    @cached_property
    def simulated(self) -> SimulatedPosteriors:
        """Simulated data with the guide's draws; calibration and coverage share them."""
        return simulate_posteriors(
            self.pair, self.x, self.effort.num_simulations, self.effort.num_draws, seed=self.seed
        )


@dataclass(frozen=True)
class Topic:
    """One diagnostic: how it is run, and how it is judged."""

    title: str
    run: Callable[[Case], xr.Dataset]
    check: Callable[[xr.Dataset], Iterable[Verdict]]


def _importance(case: Case) -> xr.Dataset:
    return case.weights


def _evidence(case: Case) -> xr.Dataset:
    effort = case.effort
    walk = effort.annealed_data, effort.annealed_chains, effort.annealed_temperatures
    return run_evidence(case.pair, case.x, case.weights, *walk, seed=case.seed)


def _calibration(case: Case) -> xr.Dataset:
    return run_calibration(case.simulated)


def _coverage(case: Case) -> xr.Dataset:
    return run_coverage(case.simulated)


def _collapse(case: Case) -> xr.Dataset:
    return run_collapse(case.pair, case.x, seed=case.seed)


def _predictive(case: Case) -> xr.Dataset:
    return run_predictive(case.pair, case.x, num_draws=case.effort.num_replicates, seed=case.seed)


def _gaps(case: Case) -> xr.Dataset:
    effort, train = case.effort, case.x_train
    return run_gaps(
        case.pair,
        case.x[: effort.gap_data],
        None if train is None else train[: effort.gap_data],
        num_samples=effort.gap_samples,
        steps=effort.gap_steps,
        seed=case.seed,
        num_particles=effort.gap_particles,
    )


def _reference(case: Case) -> xr.Dataset:
    """Datum by datum, as many as the time allows, but one at least."""
    effort, start = case.effort, time.monotonic()
    found: list[xr.Dataset] = []
    for index in range(min(effort.reference_data, len(case.x))):
        now = time.monotonic()
        # What the next one is likely to take is what the last ones took.
        if found and now + (now - start) / len(found) > case.deadline:
            break
        draws = effort.reference_samples, effort.reference_warmup, effort.reference_chains
        seed = derived_seed(case.seed, index)
        found.append(run_reference(case.pair, case.x[index : index + 1], *draws, seed=seed))
    return xr.concat(
        [table.assign_coords(datum=[index]) for index, table in enumerate(found)],
        "datum",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="override",
    )


def _alone(check: Callable[[xr.Dataset], Verdict]) -> Callable[[xr.Dataset], Iterable[Verdict]]:
    return lambda numbers: [check(numbers)]


TOPICS: Mapping[str, Topic] = {
    "importance": Topic("Importance weights", _importance, _alone(check_importance)),
    "evidence": Topic("Evidence", _evidence, _alone(check_evidence)),
    "calibration": Topic("Calibration", _calibration, _alone(check_calibration)),
    "coverage": Topic("Expected coverage", _coverage, _alone(check_coverage)),
    "collapse": Topic("Active units", _collapse, _alone(check_collapse)),
    "predictive": Topic(
        "Predictive checks",
        _predictive,
        lambda numbers: [check_predictive(numbers, kind) for kind in (POPULATION, LOCAL)],
    ),
    "gaps": Topic("Gaps", _gaps, check_gaps),
    "reference": Topic("Distance to NUTS", _reference, _alone(check_reference)),
}
