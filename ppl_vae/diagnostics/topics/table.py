"""The table of topics: every diagnostic that ``diagnose`` runs, in its order."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
import xarray as xr

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.coverage import check_coverage, run_coverage
from ppl_vae.diagnostics.calibration.local_c2st import check_local_c2st, run_local_c2st
from ppl_vae.diagnostics.calibration.posterior_calibration import (
    check_posterior_calibration,
    run_posterior_calibration,
)
from ppl_vae.diagnostics.collapse.collapse import run_collapse
from ppl_vae.diagnostics.collapse.verdict import check_collapse
from ppl_vae.diagnostics.evidence.evidence import check_evidence, run_evidence
from ppl_vae.diagnostics.gaps.gaps import check_gaps, run_gaps
from ppl_vae.diagnostics.importance.global_importance import check_global_importance, run_global_importance
from ppl_vae.diagnostics.importance.importance import check_importance
from ppl_vae.diagnostics.latent_space.density_ratio import check_density_ratio, run_density_ratio
from ppl_vae.diagnostics.predictive.predictive import LOCAL, POPULATION, check_predictive, run_predictive
from ppl_vae.diagnostics.reference.reference_cost import most_gradients, seconds_of_gradient
from ppl_vae.diagnostics.reference.reference_posterior import check_reference, run_reference
from ppl_vae.diagnostics.topics import explanations, figures, tables
from ppl_vae.diagnostics.topics.case import Case
from ppl_vae.diagnostics.topics.topic import Topic
from ppl_vae.diagnostics.verdict import Verdict
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.admission import together
from ppl_vae.randomness import derived_seed

# Data up to which chains over all sites of all data are run unasked.
MOST_TOGETHER = 500
# Simulations around one datum, each of which needs as many draws as importance weights of a datum do.
MOST_AROUND = 300


def _importance(case: Case) -> xr.Dataset:
    return case.weights


def _global_importance(case: Case) -> xr.Dataset:
    effort = case.effort
    if not case.of_set:
        raise ModelError("the model has no global sites")
    return run_global_importance(
        case.pair, together(case.of_set), effort.global_draws, effort.local_draws, seed=case.seed, progress=False
    )


def _evidence(case: Case) -> xr.Dataset:
    effort = case.effort
    walk = effort.annealed_data, effort.annealed_chains, effort.annealed_temperatures
    return run_evidence(case.pair, case.rows(), case.weights, *walk, seed=case.seed)


def _calibration(case: Case) -> xr.Dataset:
    return run_calibration(case.simulated)


def _coverage(case: Case) -> xr.Dataset:
    return run_coverage(case.simulated)


def _local_c2st(case: Case) -> xr.Dataset:
    effort = case.effort
    return run_local_c2st(case.pair, case.rows(0, effort.reference_data), effort.num_simulations, seed=case.seed)


def _posterior_calibration(case: Case) -> xr.Dataset:
    """Look around the datum of largest k-hat, where a fault of the guide is most to be feared."""
    effort, khat = case.effort, case.weights["khat"].to_numpy()
    worst = int(np.nan_to_num(khat, nan=-np.inf).argmax())
    simulations = min(effort.num_simulations, MOST_AROUND)
    numbers = run_posterior_calibration(
        case.pair, case.rows(worst, worst + 1), simulations, effort.num_samples, seed=case.seed
    )
    return numbers.assign_attrs(around=str(case.weights["datum"].to_numpy()[worst]))


def _collapse(case: Case) -> xr.Dataset:
    return run_collapse(case.pair, case.rows(), seed=case.seed)


def _density_ratio(case: Case) -> xr.Dataset:
    return run_density_ratio(case.pair, case.rows(), seed=case.seed)


def _predictive(case: Case) -> xr.Dataset:
    return run_predictive(case.pair, case.rows(), num_samples=case.effort.num_replicates, seed=case.seed)


def _gaps(case: Case) -> xr.Dataset:
    effort, train = case.effort, case.batch_train
    return run_gaps(
        case.pair,
        case.rows(0, effort.gap_data),
        None if train is None else together(tuple(part[: effort.gap_data] for part in train)),
        num_samples=effort.gap_samples,
        num_steps=effort.gap_steps,
        seed=case.seed,
        num_particles=effort.gap_particles,
    )


def _reference(case: Case) -> xr.Dataset:
    """Run the reference on all its data at once where that surely ends in time, else on parts that grow."""
    effort, start = case.effort, time.monotonic()
    if case.of_set:
        return _whole_reference(case)
    num_data = min(effort.reference_data, len(case.x))
    draws = effort.reference_samples, effort.reference_warmup, effort.reference_chains
    parts: list[xr.Dataset] = []
    first, size = 0, num_data if _ends_in_time(case, num_data) else 1
    while first < num_data:
        now = time.monotonic()
        # A part twice as large takes no more than twice the time of the last.
        if parts and now + 2 * (now - start) > case.deadline:
            break
        start = now
        x = case.rows(first, min(first + size, num_data))
        part = run_reference(case.pair, x, *draws, seed=derived_seed(case.seed, first))
        named = "datum" in part.coords
        parts.append(part if named else part.assign_coords(datum=range(first, first + part.sizes["datum"])))
        first, size = first + size, 2 * size
    return xr.concat(
        parts, "datum", data_vars="minimal", coords="minimal", compat="override", combine_attrs="override"
    )


def _ends_in_time(case: Case, num_data: int) -> bool:
    """Tell whether chains on so many data end before the deadline, however long their trajectories become."""
    if math.isinf(case.deadline):
        return True
    effort = case.effort
    most = most_gradients(effort.reference_samples, effort.reference_warmup)
    each = seconds_of_gradient(case.pair, case.rows(0, num_data), effort.reference_chains, seed=case.seed)
    return time.monotonic() + most * each < case.deadline


def _whole_reference(case: Case) -> xr.Dataset:
    """Run the reference over all sites at once, which needs all data in every gradient."""
    effort, num_data = case.effort, len(case.of_set[0])
    if num_data > MOST_TOGETHER:
        raise ModelError(
            f"HMC over global and local sites together needs all {num_data} data in every step; call run_reference"
        )
    draws = effort.reference_samples, effort.reference_warmup, effort.reference_chains
    return run_reference(case.pair, together(case.of_set), *draws, seed=case.seed, progress=False)


def _check_all_sites(numbers: xr.Dataset) -> list[Verdict]:
    if "global_c2st" not in numbers:
        return [check_reference(numbers)]
    return [
        check_reference(numbers, sites) for sites in ("global", "local") if sites == "global" or "c2st" in numbers
    ]


def _check_both_kinds(numbers: xr.Dataset) -> list[Verdict]:
    return [check_predictive(numbers, kind) for kind in (POPULATION, LOCAL)]


TOPICS: Mapping[str, Topic] = {
    "importance": Topic(
        "Importance weights",
        _importance,
        check_importance,
        explanations.IMPORTANCE,
        figures.importance,
        tables.importance,
    ),
    "global_importance": Topic(
        "Global sites",
        _global_importance,
        check_global_importance,
        explanations.GLOBAL_IMPORTANCE,
        None,
        tables.global_importance,
        of_global=True,
    ),
    "evidence": Topic("Evidence", _evidence, check_evidence, explanations.EVIDENCE, None, tables.evidence),
    "calibration": Topic(
        "Calibration", _calibration, check_calibration, explanations.CALIBRATION, figures.calibration, None
    ),
    "coverage": Topic(
        "Expected coverage", _coverage, check_coverage, explanations.COVERAGE, figures.coverage, None
    ),
    "local_c2st": Topic(
        "Calibration at single data",
        _local_c2st,
        check_local_c2st,
        explanations.LOCAL_C2ST,
        figures.local_c2st,
        tables.local_c2st,
        on_demand=True,
    ),
    "posterior_calibration": Topic(
        "Calibration around a datum",
        _posterior_calibration,
        check_posterior_calibration,
        explanations.POSTERIOR_CALIBRATION,
        figures.posterior_calibration,
        None,
        on_demand=True,
    ),
    "collapse": Topic("Active units", _collapse, check_collapse, explanations.COLLAPSE, figures.collapse, None),
    "density_ratio": Topic(
        "Codes against the prior",
        _density_ratio,
        check_density_ratio,
        explanations.DENSITY_RATIO,
        figures.density_ratio,
        None,
    ),
    "predictive": Topic(
        "Predictive checks", _predictive, _check_both_kinds, explanations.PREDICTIVE, figures.predictive, None
    ),
    "gaps": Topic("Gaps", _gaps, check_gaps, explanations.GAPS, figures.gaps, tables.gaps),
    "reference": Topic(
        "Distance to HMC", _reference, _check_all_sites, explanations.REFERENCE, figures.reference, tables.reference
    ),
}
"""All topics by name, cheap ones first; those on demand are run where their names are given."""
