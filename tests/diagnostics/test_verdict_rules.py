"""No verdict says "good" where it does not know, and none is built on figures that are no numbers."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import optimize, stats

from ppl_vae import diagnostics as dg
from ppl_vae.diagnostics.calibration.verdict import HALF_AS_WIDE
from ppl_vae.diagnostics.latent_space.latent_holes import LatentHoles
from ppl_vae.diagnostics.verdict import level_of
from ppl_vae.errors import DataError
from tests.scenarios import draw_data, linear_gaussian


@pytest.fixture(scope="module")
def tables():
    lg = linear_gaussian(guide="exact")
    x = draw_data(lg, 60)
    simulated = dg.simulate_posteriors(lg, x, num_simulations=200, num_samples=19)
    images, classifier = torch.rand(2, 40, 1, 3, 3), lambda images: torch.softmax(images.flatten(1)[:, :3], 1)
    return {
        "importance": dg.run_importance(linear_gaussian(guide="mean-field"), x, num_samples=100),
        "calibration": dg.run_calibration(simulated),
        "coverage": dg.run_coverage(simulated),
        "collapse": dg.run_collapse(lg, x),
        "predictive": dg.run_predictive(lg, x, num_samples=40),
        "holes": dg.run_latent_holes(images[0], images[1], torch.rand(40, 1, 3, 3), classifier),
    }


CHECKS = {
    "importance": (dg.check_importance, "datum", ["elbo", "ess", "khat"]),
    "calibration": (dg.check_calibration, "quantity", ["pit", "p_value"]),
    "coverage": (dg.check_coverage, "region", ["credibility", "p_value"]),
    "collapse": (dg.check_collapse, "latent", ["posterior_mean_variance"]),
    "predictive": (dg.check_predictive, "statistic", ["observed", "replicated", "p_value"]),
}


def with_one(table, name, value):
    """The table with one number of a variable replaced."""
    changed = table.copy(deep=True)
    changed[name] = changed[name].astype(float)
    changed[name].values.flat[0] = value
    return changed


@pytest.mark.parametrize("topic", CHECKS)
def test_figures_that_are_no_numbers_are_refused_by_name(tables, topic):
    check, _, names = CHECKS[topic]
    assert check(tables[topic]).level in ("good", "doubtful", "bad")
    for name in names:
        for value in (np.nan, np.inf, -np.inf):
            if name == "khat" and value == np.inf:  # too few distinct weights for a fit
                continue
            with pytest.raises(DataError, match=f"'{name}' are NaN or infinite"):
                check(with_one(tables[topic], name, value))


@pytest.mark.parametrize("topic", CHECKS)
def test_nothing_is_said_of_no_data(tables, topic):
    check, dim, _ = CHECKS[topic]
    with pytest.raises(DataError, match=f"found nothing along '{dim}'"):
        check(tables[topic].isel({dim: slice(0)}))


def test_levels_are_those_of_the_whole_interval():
    assert level_of(0.0, 0.0, 0.1, 0.5) == "good"
    assert level_of(-3.0, 1.0, 0.1, 0.5) == "good"
    assert [level_of(value, 1.0, 0.1, 0.5) for value in (-1.0, 0.5, 2.0)] == ["unknown"] * 3
    assert [level_of(value, 1.0, 0.1, 0.5) for value in (2.2, 2.6)] == ["doubtful", "bad"]
    assert {level_of(*pair, 0.1, 0.5) for pair in ((np.nan, 0.1), (0.0, np.nan), (np.inf, 1.0), (0.0, np.inf))} == {
        "unknown"
    }


def test_the_band_that_a_guide_half_as_wide_passes():
    """Ranks of the truth under N(0, 1/4) have the distribution function Phi(Phi^-1(a) / 2)."""
    found = optimize.minimize_scalar(lambda t: -abs(stats.norm.cdf(t / 2) - stats.norm.cdf(t)), (-3, -1, 0))
    assert pytest.approx(-found.fun, abs=0.005) == HALF_AS_WIDE


@pytest.mark.parametrize(
    "check", [(dg.run_calibration, dg.check_calibration), (dg.run_coverage, dg.check_coverage)]
)
@pytest.mark.parametrize(("simulations", "draws"), [(12, 49), (400, 1)])
def test_few_simulations_are_no_calibration(check, simulations, draws):
    run, judge = check
    lg = linear_gaussian(guide="exact")
    verdict = judge(run(dg.simulate_posteriors(lg, (5,), num_simulations=simulations, num_samples=draws)))
    assert verdict.level == "unknown"
    assert "half as wide as the posterior could pass as well" in verdict.words


def test_few_replicates_are_no_predictive_check():
    lg = linear_gaussian(guide="exact")
    verdict = dg.check_predictive(dg.run_predictive(lg, draw_data(lg, 50), num_samples=3))
    assert verdict.level == "unknown"
    assert verdict.advice == "Draw more replicates."


def test_units_near_the_threshold_are_neither_active_nor_idle(tables):
    table, error = tables["collapse"], "posterior_mean_variance_stderr"
    unsure = table.assign({error: table[error] * 0 + 100})
    assert dg.check_collapse(unsure).level == "unknown"
    assert "within two standard errors of the threshold" in dg.check_collapse(unsure).words
    missing = table.assign({error: table[error] * np.nan})
    assert dg.check_collapse(missing).level == "unknown"


def test_data_whose_weight_is_that_of_a_few_draws_are_above_any_threshold(tables):
    table = tables["importance"]
    khat, ess = table["khat"].to_numpy().copy(), table["ess"].to_numpy().copy()
    khat[:50] = np.inf
    alone = table.assign(khat=("datum", khat), ess=("datum", np.where(np.isinf(khat), 1.0, ess)))
    verdict = dg.check_importance(alone)
    assert verdict.level == "bad"
    assert "On 50 data a few draws have all the weight" in verdict.words
    # Weights of few values, many of each, are another thing: nothing is known of most data.
    assert dg.check_importance(table.assign(khat=("datum", khat), ess=("datum", ess + 50))).level == "unknown"


def made_holes(num_draws, num_real=400):
    """Draws and real images that are alike."""
    generator = torch.Generator().manual_seed(0)
    numbers = [torch.rand(n, generator=generator) for n in (num_draws, num_draws, num_real, num_real)]
    return LatentHoles(*numbers)


def test_a_few_draws_tell_no_holes():
    assert dg.check_latent_holes(made_holes(2000)).level == "good"
    assert dg.check_latent_holes(made_holes(6)).level == "unknown"
    with pytest.raises(DataError, match="found none in 'confidence'"):
        dg.check_latent_holes(made_holes(0))
    broken = made_holes(50)
    broken.distance[3] = torch.nan
    with pytest.raises(DataError, match="1 of the 50 numbers of 'distance' are NaN or infinite"):
        dg.check_latent_holes(broken)


def test_ten_data_are_not_enough_for_an_attribute_that_moves():
    columns = {
        "changed": (("alpha", "attribute"), [[1.0, 0.0]]),
        "changed_stderr": (("alpha", "attribute"), [[0.12, 0.12]]),
    }
    table = xr.Dataset(columns, {"alpha": [1.0], "attribute": ["hat", "glasses"]}, {"moved": "hat"})
    assert dg.check_arithmetic(table).level == "unknown"
    assert dg.check_arithmetic(table.assign(changed_stderr=table["changed_stderr"] / 10)).level == "good"
    with pytest.raises(DataError, match="'changed' are NaN"):
        dg.check_arithmetic(with_one(table, "changed", np.nan))
