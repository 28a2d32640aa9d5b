"""Recovery, z-scores and contraction against the closed forms of a linear-Gaussian model."""

import math

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from scipy import stats

from ppl_vae import plots
from ppl_vae.diagnostics.calibration.recovery import check_recovery, run_recovery
from ppl_vae.diagnostics.calibration.uniformity import ecdf_bands, least_tail, tail_quantile, uniformity_p_value
from ppl_vae.errors import DataError
from tests.diagnostics.faulty_guides import SIGMA, WEIGHT, simulated


def posterior_variance():
    precision = WEIGHT.mT @ WEIGHT / SIGMA**2 + torch.eye(2, dtype=torch.float64)
    return torch.linalg.inv(precision).diagonal().numpy()


def test_an_exact_guide_has_the_numbers_of_the_closed_form():
    """Contraction 1 - V, correlation sqrt(1 - V), z-scores N(0, 1)."""
    table = run_recovery(simulated("exact"))
    variance, count = posterior_variance(), table.sizes["simulation"]
    # The prior's variance is that of the simulated truths, with a relative error of sqrt(2 / S).
    assert table["mean_contraction"].values == pytest.approx(
        1 - variance, abs=4 * math.sqrt(2 / count) * variance.max()
    )
    assert table["recovery"].values == pytest.approx(np.sqrt(1 - variance), abs=4 / math.sqrt(count))
    assert np.abs(table["mean_z"] / table["mean_z_stderr"]).max() < 4
    assert np.abs((table["rms_z"] - 1) / table["rms_z_stderr"]).max() < 4
    assert (table["calibration_error"] < 0.04).all()
    assert (table["log_gamma"] > -1).all()
    assert check_recovery(table).level == "good"


def factor(x):
    with pyro.plate("data", len(x)):
        lower = pyro.sample("L", dist.LKJCholesky(2, x.new_ones(())))
        pyro.sample("x", dist.Normal(lower[..., 1, 0], 1.0), obs=x)


def prior_of_factor(x):
    with pyro.plate("data", len(x)):
        pyro.sample("L", dist.LKJCholesky(2, x.new_ones(())))


def test_the_zeros_of_a_triangular_latent_are_nothing_to_recover():
    """The prior as the guide: z-scores are those of two draws of it, contraction is 0."""
    table = run_recovery((factor, prior_of_factor), torch.zeros(1), num_simulations=300)
    assert table["quantity"].values.tolist() == ["L[1,0]", "L[1,1]"]
    assert np.abs((table["rms_z"] - 1) / table["rms_z_stderr"]).max() < 4
    assert "of 2 latents" in check_recovery(table).words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "rms", "level"),
    [
        ("narrow", 1 / 0.7, ("doubtful", "bad")),
        ("wide", 1 / 1.4, ("doubtful", "bad")),
        ("shifted", math.sqrt(1.25), ("doubtful", "unknown")),
    ],
)
def test_faults_show_in_the_z_scores(fault, rms, level):
    table = run_recovery(simulated(fault))
    assert np.abs((table["rms_z"] - rms) / table["rms_z_stderr"]).max() < 4.5
    assert (table["log_gamma"] < 0).all()
    verdict = check_recovery(table)
    assert verdict.level in level
    assert ("too sure" in verdict.words) == (rms > 1)


def test_log_gamma_is_below_zero_just_where_the_band_is_left():
    generator = np.random.default_rng(0)
    limit, bands = tail_quantile(200, 50, 0.05), ecdf_bands(200, 50)
    for spread in (1.0, 0.93, 0.85, 0.7):
        values = (np.floor(50 * (0.5 + spread * (generator.random(200) - 0.5))) + 0.5) / 50
        share = np.searchsorted(np.sort(values), np.arange(1, 50) / 50) / 200
        left = bool(((share < bands.lower) | (share > bands.upper)).any())
        assert (least_tail(values, 50) <= limit) == left
        assert (uniformity_p_value(values, 50) < 0.05) == left


def test_one_tail_is_the_binomials():
    values = np.full(10, 0.9)
    # None below 1/2: the probability is 2 * 2^-10.
    assert least_tail(values, 2) == pytest.approx(2 * stats.binom.cdf(0, 10, 0.5))


def test_another_table_is_refused_and_the_figure_has_two_rows():
    with pytest.raises(DataError, match="expected what run_recovery returns"):
        check_recovery(xr.Dataset())
    with pytest.raises(DataError, match="missing truth"):
        plots.plot_recovery(xr.Dataset())
    figure = plots.plot_recovery(run_recovery(simulated("exact")))
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title().startswith("z[0]: r = 0.8")


@pytest.mark.parametrize("num_samples", [6, 10, 20])
def test_few_draws_of_an_exact_guide_are_not_taken_for_one_that_is_too_sure(num_samples):
    """Over the spread of L draws z is Student's t: its mean square is (L - 1) / (L - 3), 1.8 of 6."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    table = run_recovery((model, guide), torch.zeros(1), 2000, num_samples)
    assert abs(float(table["rms_z"][0]) - 1) < 4 * float(table["rms_z_stderr"][0])
    t = stats.kstest(table["z_score"].values[:, 0], stats.t(num_samples - 1).cdf)
    assert t.pvalue > 1e-3
    assert check_recovery(table).level in ("good", "unknown")


def test_of_three_draws_there_is_no_mean_square():
    table = run_recovery((factor, prior_of_factor), torch.zeros(1), 50, 3)
    with pytest.raises(DataError, match="expected z-scores of at least 4 draws, found 3"):
        check_recovery(table)


RARE = 0.05


def rare_event(mask=None):
    """z ~ Bernoulli(.05), x | z ~ N(1.5 z, 1), and the exact posterior; masked, as the sites of padding are."""

    def masked(z, x):
        return z if mask is None else z.mask(mask(x))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", masked(dist.Bernoulli(torch.full((len(x),), RARE)), x))
            pyro.sample("x", masked(dist.Normal(1.5 * z, 1.0), x), obs=x.nan_to_num())

    def guide(x):
        log_odds = math.log(RARE / (1 - RARE)) + 1.5 * x.nan_to_num() - 1.5**2 / 2
        with pyro.plate("data", len(x)):
            pyro.sample("z", masked(dist.Bernoulli(logits=log_odds), x))

    return model, guide


@pytest.mark.parametrize("num_samples", [10, 99])
def test_the_exact_posterior_of_a_rare_event_is_well_calibrated(num_samples):
    """Its draws were all equal where the truth was not: z-scores were infinite, and the table was refused."""
    table = run_recovery(rare_event(), torch.zeros(1), 2000, num_samples)
    assert np.isfinite(table["z_score"]).all()
    assert abs(float(table["rms_z"][0]) - 1) < 4 * float(table["rms_z_stderr"][0])
    assert float(table["rms_z_stderr"][0]) < 0.1
    assert abs(float(table["mean_z"][0])) < 4 * float(table["mean_z_stderr"][0])
    assert check_recovery(table).level in ("good", "unknown")
    # Contraction is 1 - E[P (1 - P)] / (p (1 - p)), by quadrature over x; it was that of the doubtful data alone.
    x = np.linspace(-8, 10, 20_001)
    densities = RARE * stats.norm.pdf(x, 1.5), (1 - RARE) * stats.norm.pdf(x)
    left = np.sum(densities[0] * densities[1] / (densities[0] + densities[1])) * (x[1] - x[0])
    contraction = 1 - left / (RARE * (1 - RARE))
    # The truths' own variance has a relative error of 1 / sqrt(S p), that of 100 events.
    assert float(table["mean_contraction"][0]) == pytest.approx(contraction, abs=4 * (1 - contraction) / 10)


def test_a_masked_event_is_none_that_did_not_happen():
    masked = run_recovery(rare_event(lambda x: ~x.isnan()), torch.tensor([0.0, torch.nan]), 1000)
    assert np.isnan(masked["truth"].values[1::2]).all()
    assert not np.isnan(masked["truth"].values[::2]).any()
