"""Ranks are uniform for the exact posterior; every planted fault is named, and no other."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.coverage import check_coverage, run_coverage
from ppl_vae.diagnostics.calibration.simulated_posteriors import simulate_posteriors
from ppl_vae.errors import DataError, ModelError
from tests.diagnostics.faulty_guides import NUM_DRAWS, NUM_SIMULATIONS, planted, simulated
from tests.scenarios import linear_gaussian


def exact_p_value(seed):
    """One p for ranks, coverage and TARP together, for the exact guide of a random model (Bonferroni)."""
    exact = linear_gaussian(seed=seed, guide="exact")
    found = simulate_posteriors(exact, (5,), NUM_SIMULATIONS, NUM_DRAWS, seed=seed)
    p_values = [run(found, seed=seed)["p_value"].to_numpy() for run in (run_calibration, run_coverage)]
    return min(1.0, min(p.min() for p in p_values) * sum(p.size for p in p_values))


@pytest.mark.slow
def test_the_exact_posterior_passes_over_seeds():
    """A hundredth of the seeds would fail: two or more of 20 happen once in 60 times; these seeds are fixed."""
    p_values = [exact_p_value(seed) for seed in range(20)]
    assert sum(p <= 0.01 for p in p_values) <= 1
    assert sum(p <= 0.5 for p in p_values) <= 16


FOUND = {
    "narrow": ["z[0] and z[1]: too narrow"],
    "wide": ["z[0] and z[1]: too wide"],
    "shifted": ["z[0] and z[1]: shifted high"],
    "mean-field": ["z[0] and z[1]: too narrow"],
    "marginal": ["log p(x|z): lower at the draws", "how they depend on each other"],
    "collapsed": ["log p(x|z): lower at the draws", "z[0] and z[1] do not follow the truth", "collapsed"],
}
SIGNS = ("too narrow", "too wide", "shifted low", "shifted high", "depend on each other", "collapsed")


@pytest.mark.parametrize("fault", FOUND)
def test_a_planted_fault_is_named_and_no_other(fault):
    verdict = check_calibration(run_calibration(simulated(fault)))
    assert verdict.level == "bad"
    assert verdict.value <= 0.01
    assert verdict.advice
    assert all(words in verdict.words for words in FOUND[fault])
    named = [sign for sign in SIGNS if sign in verdict.words]
    assert named == [sign for sign in SIGNS if any(sign in words for words in FOUND[fault])]


# Of ranks in ten bins and of the ECDF's difference from uniform, in either half: the pictures that a fault makes.
PICTURES = {
    "wide": ("ranks with a hump in the middle; an ECDF difference below 0 first, then above", "q too wide"),
    "narrow": ("ranks piled up at both ends; an ECDF difference above 0 first, then below", "q too narrow"),
    "shifted": ("ranks that rise or fall from end to end; an ECDF difference that is one arch", "a biased q"),
}


def picture(table):
    """What the ranks and the ECDF difference of the first latent dimension look like, in the guide's words."""
    bins = np.histogram(table["pit"].to_numpy()[:, 0], 10, (0, 1))[0]
    ends, middle = bins[[0, 9]], bins[4:6].mean()
    curve = table["ecdf_difference"].to_numpy()[0]
    first, second = curve[: len(curve) // 2].mean(), curve[len(curve) // 2 :].mean()
    if min(ends) > 1.3 * middle and first > 0 > second:
        return PICTURES["narrow"][0]
    if max(ends) < 0.7 * middle and first < 0 < second:
        return PICTURES["wide"][0]
    if max(ends) > 1.5 * middle > 2 * min(ends) and first * second > 0:
        return PICTURES["shifted"][0]
    return "none of them"


@pytest.mark.parametrize("fault", PICTURES)
def test_pictures_of_ranks_mean_what_the_guide_to_diagnostics_says(fault):
    seen, meaning = PICTURES[fault]
    assert picture(run_calibration(simulated(fault))) == seen
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "diagnostics.md").read_text()
    assert f"| {seen} | {meaning} |" in guide


def test_the_exact_posterior_is_good():
    verdict = check_calibration(run_calibration(simulated("exact")))
    assert verdict.level == "good"
    assert "Ranks of all 4 quantities are uniform" in verdict.words
    assert not verdict.advice


@pytest.mark.parametrize("fault", ["marginal", "collapsed"])
def test_dimensions_alone_would_pass(fault):
    table = run_calibration(simulated(fault))
    latent = table.isel(quantity=(table["kind"] == "latent dimension").to_numpy())
    assert latent["p_value"].min() * 4 > 0.05
    assert table["p_value"].sel(quantity="log p(x|z)") < 1e-5


def test_ranks_of_a_narrow_guide_have_their_exact_mean_square():
    """pit = Phi(t), t ~ N(0, 1 / 0.7^2), for L to infinity: E (Phi(t) - 1/2)^2 = asin(1 / (1 + 0.49)) / (2 pi)."""
    table = run_calibration(simulated("narrow"))
    square = (table["pit"].sel(quantity=["z[0]", "z[1]"]) - 0.5).to_numpy() ** 2
    exact = math.asin(1 / (1 + 0.7**2)) / (2 * math.pi)
    # Of L draws only: the pit has a variance of about pit (1 - pit) / L around its limit.
    assert abs(square.mean() - exact) < 4 * square.std() / math.sqrt(square.size) + 1 / (6 * NUM_DRAWS)


def test_correlations_are_those_of_the_model():
    """Corr(z_j, E[z_j | x]) = sqrt(1 - V_jj) for the exact posterior with variances V_jj."""
    table = run_calibration(simulated("exact"))
    exact = (1 - simulated_covariance().diagonal()).sqrt()
    error = (1 - exact**2) / math.sqrt(NUM_SIMULATIONS)
    found = torch.as_tensor(table["correlation"].sel(quantity=["z[0]", "z[1]"]).to_numpy())
    assert ((found - exact).abs() < 4 * error + 1e-3).all()


def simulated_covariance():
    return planted("exact").posterior(torch.zeros(1, 5)).covariance_matrix[0]


def test_importance_weights_repair_a_wide_guide():
    plain = check_calibration(run_calibration(simulated("wide")))
    weighted = check_calibration(run_calibration(simulated("wide"), importance_weighted=True))
    assert plain.value < 1e-10
    assert weighted.value > 0.01
    assert weighted.diagnostic == "Calibration of importance-weighted draws"


def test_importance_weights_of_the_exact_posterior_change_nothing():
    plain, weighted = (run_calibration(simulated("exact"), importance_weighted=flag) for flag in (False, True))
    assert abs(plain["pit"] - weighted["pit"]).max() < 1e-9


def test_weights_of_few_draws_do_not_repair_a_collapsed_guide():
    verdict = check_calibration(run_calibration(simulated("collapsed"), importance_weighted=True))
    assert verdict.level == "bad"
    assert "more draws" in verdict.advice


def test_a_users_quantity_is_ranked_with_the_others():
    """The product of the two dimensions: what a guide with the right margins and no correlation gets wrong."""
    table = run_calibration(simulated("marginal"), quantities={"z0 z1": lambda x, z: z.prod(-1)})
    assert table["kind"].sel(quantity="z0 z1") == "test quantity"
    assert table["p_value"].sel(quantity="z0 z1") < 0.01
    exact = run_calibration(simulated("exact"), quantities={"z0 z1": lambda x, z: z.prod(-1)})
    assert exact["p_value"].min() * 5 > 0.01


def test_a_quantity_of_another_shape_or_without_a_value_is_named():
    with pytest.raises(ModelError, match=r"'mean': expected shape \[K, S\] = \[100, 1000\].*got \[\]"):
        run_calibration(simulated("exact"), quantities={"mean": lambda x, z: z.mean()})
    with pytest.raises(ModelError, match=r"'root': expected numbers, found .* NaN"):
        run_calibration(simulated("exact"), quantities={"root": lambda x, z: z[..., 0].sqrt()})
    with pytest.raises(ModelError, match="is there twice"):
        run_calibration(simulated("exact"), quantities={"z[0]": lambda x, z: z[..., 0]})


def test_refuses_other_numbers():
    with pytest.raises(DataError, match="expected what run_calibration returns"):
        check_calibration(xr.Dataset({"coverage": 1.0}))


def test_a_wrong_prior_in_the_data_is_none_of_its_faults():
    """Calibration simulates from the model: data of another prior do not enter."""
    from_elsewhere = run_calibration(planted("exact"), 50 + 9 * torch.randn(20, 5), 300, 49)
    assert check_calibration(from_elsewhere).level == "good"


def test_the_verdict_of_coverage_agrees():
    assert check_coverage(run_coverage(simulated("exact"))).level == "good"
