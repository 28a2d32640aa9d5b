"""Calibration, coverage and predictive checks run on every point of the table of models."""

import pytest

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.coverage import check_coverage, run_coverage
from ppl_vae.diagnostics.calibration.simulated_posteriors import simulate_posteriors
from ppl_vae.diagnostics.predictive.predictive import check_predictive, run_predictive
from ppl_vae.errors import DataError
from tests.models.table import CHAINS, LATENT_DIM, ROWS

SIZE, DRAWS = 12, 5
DRAWABLE = [row for row in ROWS if row.likelihood != "bernoulli-relaxed"]


@pytest.mark.parametrize("row", DRAWABLE, ids=str)
def test_every_model_is_simulated_ranked_and_covered(row):
    x = row.data()
    found = simulate_posteriors(row.vae(), x, SIZE, DRAWS)
    assert found.x.shape == (SIZE, *row.event_shape)
    # What is said of simulated rows is to hold for rows with the holes of those given.
    patterns = {tuple(hole.flatten().tolist()) for hole in x.isnan()}
    assert {tuple(hole.flatten().tolist()) for hole in found.x.isnan()} <= patterns
    # A guide with a chain inside has densities at its own draws alone.
    has_density = row.posterior not in CHAINS
    for weighted in (False, True)[: 1 + has_density]:
        table = run_calibration(found, importance_weighted=weighted)
        assert table["pit"].shape == (SIZE, LATENT_DIM + 2)
        assert ((table["pit"] >= 0) & (table["pit"] <= 1)).all()
        assert ((table["ranks"] >= 0) & (table["ranks"] <= DRAWS)).all()
        assert str(check_calibration(table))
    coverage = run_coverage(found)
    assert coverage["region"].to_numpy()[-1] == "TARP"
    assert ("highest density" in coverage["region"].to_numpy()) == has_density
    assert str(check_coverage(coverage))


@pytest.mark.parametrize("row", DRAWABLE, ids=str)
def test_every_model_is_checked_by_its_replicates(row):
    table = run_predictive(row.vae(), row.data(), num_samples=4)
    assert table["replicated"].notnull().all()
    assert ((table["p_value"] >= 0.4) & (table["p_value"] <= 1)).all()
    assert all(str(check_predictive(table, kind)) for kind in ("population", "local"))


@pytest.mark.parametrize("row", [row for row in ROWS if row not in DRAWABLE], ids=str)
def test_grey_data_of_the_relaxed_bernoulli_are_refused(row):
    with pytest.raises(DataError, match="data that the model can draw"):
        simulate_posteriors(row.vae(), row.data(), SIZE, DRAWS)
    with pytest.raises(DataError, match="data that the model can draw"):
        run_predictive(row.vae(), row.data(), num_samples=4)
