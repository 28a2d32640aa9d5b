"""Coverage against closed forms: wrong scales, joint regions, TARP's area by quadrature."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

import ppl_vae as pv
from ppl_vae.diagnostics.calibration.coverage import check_coverage, run_coverage
from ppl_vae.diagnostics.calibration.simulated_posteriors import simulate_posteriors
from ppl_vae.diagnostics.calibration.tarp import area_to_curve, tarp_credibility
from ppl_vae.errors import DataError
from ppl_vae.models.linear_gaussian import LinearGaussianPosterior
from tests.diagnostics.faulty_guides import FAULTS, NUM_DRAWS, Faulty, simulated

LEVELS = [0.2, 0.5, 0.8, 0.9]


def at(table, region):
    chosen = table.sel(region=region).sel(nominal=LEVELS, method="nearest")
    return chosen["coverage"].to_numpy(), chosen["coverage_stderr"].to_numpy()


@pytest.mark.parametrize("fault", ["exact", "narrow", "wide"])
def test_central_intervals_of_a_gaussian_with_a_wrong_scale(fault):
    """A guide w times as wide as the posterior covers 2 Phi(z w) - 1 where z is the quantile of (1 + level) / 2."""
    widen = FAULTS[fault].get("widen", 1.0)
    exact = 2 * stats.norm.cdf(widen * stats.norm.ppf((1 + np.array(LEVELS)) / 2)) - 1
    table = run_coverage(simulated(fault))
    for name in ("z[0]", "z[1]"):
        found, error = at(table, name)
        # A draw more or less at either end of the interval: 1 / L of the mass.
        assert (abs(found - exact) < 4 * error + 1 / NUM_DRAWS).all()


def joint_coverage(fault):
    """P(sum_i lam_i chi2_1 <= chi2_{2, level}), lam = eig(S^-1 V), by the angle: a guide N(m, S) of N(m, V)."""
    guide = Faulty(**FAULTS[fault])
    ratios = torch.linalg.eigvals(torch.linalg.solve(guide.covariance, guide.exact)).real.numpy()
    angle = np.linspace(0, 2 * np.pi, 4001)[:-1]
    along = ratios[0] * np.cos(angle) ** 2 + ratios[1] * np.sin(angle) ** 2
    radius = stats.chi2.ppf(LEVELS, 2)[:, None]
    return (1 - np.exp(-0.5 * radius / along)).mean(1)


@pytest.mark.parametrize("fault", ["exact", "narrow", "wide", "mean-field", "marginal"])
def test_regions_of_highest_density_of_a_wrong_gaussian(fault):
    found, error = at(run_coverage(simulated(fault)), "highest density")
    assert (abs(found - joint_coverage(fault)) < 4 * error + 1 / NUM_DRAWS).all()


def one_dimensional(scale):
    """z ~ N(0, 1), x | z ~ N(z, 1), under q = N(x / 2, scale^2); the posterior has scale sqrt(1/2)."""
    guide = LinearGaussianPosterior("mean-field", 1, 1, torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    vae = pv.LinearGaussianVAE(one, one[0] * 0, 1.0, guide=guide)
    with torch.no_grad():
        guide.log_scale.fill_(math.log(scale))
    return vae


def exact_area(scale):
    """ATC for r = x / sqrt 2, with z in units of the spread of truth and draws together, by sums over x and z_0."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z0 = stats.norm.ppf((np.arange(4000) + 0.5) / 4000) * math.sqrt(0.5)
    total = 0.0
    for u, weight in zip(nodes, weights / weights.sum(), strict=True):
        mean, reference = u / math.sqrt(2), u * math.sqrt(0.5 + scale**2)
        distance = abs(mean + z0 - reference)
        share = np.diff(stats.norm.cdf((reference + distance * np.array([[-1], [1]]) - mean) / scale), axis=0)
        total += weight * (5 / 8 - np.maximum(share, 0.5)).mean()
    return total


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, math.sqrt(0.5), 0.5])
def test_the_area_of_tarp_has_the_value_and_the_sign_of_the_quadrature(scale):
    found = simulate_posteriors(one_dimensional(scale), (1,), 3000, 399)
    area, error = area_to_curve(tarp_credibility(found, torch.Generator().manual_seed(5)))
    exact = exact_area(scale)
    # max(f, 1/2) of a share among L draws lies about 1 / (8 L) above its limit.
    assert abs(area - exact) < 4 * error + 1 / (8 * 399)
    assert area * (scale - math.sqrt(0.5)) >= 0 or scale == math.sqrt(0.5)


def test_the_area_is_the_integral_of_the_curve():
    f = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 2
    grid = (np.arange(100_000) + 0.5) / 200_000 + 0.5
    curve = np.searchsorted(np.sort(f.numpy()), grid, side="right") / 500
    assert area_to_curve(f)[0] == pytest.approx((curve - grid).mean() / 2, abs=1e-6)


WORDS = {
    "narrow": "cover too little: the guide is too narrow or off centre",
    "shifted": "cover too little: the guide is too narrow or off centre",
    "mean-field": "cover too little: the guide is too narrow or off centre",
    "wide": "cover too much: the guide is too wide",
    "marginal": "every dimension passes by itself, the guide's joint density does not",
    "collapsed": "does not follow x as the posterior does",
}


@pytest.mark.parametrize("fault", WORDS)
def test_a_planted_fault_in_words(fault):
    verdict = check_coverage(run_coverage(simulated(fault)))
    assert verdict.level == "bad"
    assert WORDS[fault] in verdict.words
    assert not [words for words in WORDS.values() if words != WORDS[fault] and words in verdict.words]


def test_only_tarp_with_references_that_depend_on_x_sees_a_collapsed_guide():
    table = run_coverage(simulated("collapsed"))
    assert table["p_value"].drop_sel(region="TARP").min() * 4 > 0.05
    assert table["p_value"].sel(region="TARP") < 1e-5
    assert table["atc"] > 3 * table["atc_stderr"]


def test_the_exact_posterior_covers_as_it_says():
    verdict = check_coverage(run_coverage(simulated("exact")))
    assert verdict.level == "good"
    assert abs(verdict.value - 0.9) < 4 * verdict.stderr


def test_refuses_other_numbers():
    with pytest.raises(DataError, match="expected what run_coverage returns"):
        check_coverage(xr.Dataset({"pit": 1.0}))
