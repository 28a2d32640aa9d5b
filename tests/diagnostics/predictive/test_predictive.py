"""Predictive checks against the normal distributions that a linear-Gaussian model's statistics have."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

import ppl_vae as pv
from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.predictive.predictive import check_predictive, run_predictive, two_sided
from ppl_vae.diagnostics.predictive.statistics import default_statistics
from ppl_vae.errors import DataError, ModelError
from tests.diagnostics.calibration.test_simulated_posteriors import discrete_pair

SIGMA = 0.5


def one_dimensional():
    """z ~ N(0, 1), x | z ~ N(z, 1/4), with the exact posterior N(0.8 x, 0.2)."""
    one = torch.ones(1, 1, dtype=torch.float64)
    return pv.LinearGaussianVAE(one, one[0] * 0, SIGMA, guide="exact")


def draws(n, scale=1.0, seed=0):
    """Data of the model whose prior is N(0, scale^2)."""
    generator = torch.Generator().manual_seed(seed)
    z, noise = torch.randn(2, n, 1, generator=generator, dtype=torch.float64)
    return scale * z + SIGMA * noise


@pytest.fixture(scope="module")
def checked():
    """Data of the model's own, and data of a prior twice as wide, both checked once."""
    return {scale: run_predictive(one_dimensional(), draws(200, scale), num_samples=1000) for scale in (1.0, 2.0)}


@pytest.mark.slow
def test_population_replicates_have_the_normal_mean_and_the_chi_squared_spread(checked):
    """The mean of N data is N(0, 1.25 / N); their variance is 1.25 chi2_{N-1} / (N - 1)."""
    population = checked[1.0]["replicated"].sel(kind="population")
    assert stats.kstest(population.sel(statistic="mean"), stats.norm(0, math.sqrt(1.25 / 200)).cdf).pvalue > 1e-3
    square = population.sel(statistic="spread of sums") ** 2 * 199 / 1.25
    assert stats.kstest(square, stats.chi2(199).cdf).pvalue > 1e-3


@pytest.mark.slow
def test_local_replicates_come_from_each_datums_own_posterior(checked):
    """x' | x ~ N(0.8 x, 0.2 + 0.25), so that its mean over the data is N(0.8 mean x, 0.45 / N)."""
    local = checked[1.0]["replicated"].sel(kind="local", statistic="mean")
    exact = stats.norm(0.8 * draws(200).mean().item(), math.sqrt(0.45 / 200))
    assert stats.kstest(local, exact.cdf).pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["population", "local"])
def test_p_values_are_those_of_the_closed_form(checked, kind):
    observed = draws(200).mean().item()
    exact = {"population": (0.0, 1.25), "local": (0.8 * observed, 0.45)}[kind]
    tail = stats.norm.cdf(observed, exact[0], math.sqrt(exact[1] / 200))
    found = checked[1.0].sel(kind=kind, statistic="mean")
    assert abs(found["p_value"] - 2 * min(tail, 1 - tail)) < 4 * found["p_value_stderr"] + 2 / 1001


def test_p_values_of_single_data(checked):
    x = draws(200)[:, 0].numpy()
    tail = stats.norm.cdf(x, 0.8 * x, math.sqrt(0.45))
    exact = 2 * np.minimum(tail, 1 - tail)
    error = 2 * np.sqrt(exact / 2 * (1 - exact / 2) / 1000)
    found = checked[1.0]["datum_p_value"].sel(statistic="mean").to_numpy()
    # 200 of them together: the largest of 200 standard normal variables passes 4.5 once in 700 times.
    assert (abs(found - exact) < 4.5 * error + 2 / 1001).all()
    assert np.isnan(checked[1.0]["datum_p_value"].sel(statistic="spread of sums")).all()


@pytest.mark.slow
def test_population_p_values_are_uniform_over_data_sets():
    """The local ones are not: they crowd at 1."""
    mean = {"mean": lambda x: x.mean()}
    tables = [run_predictive(one_dimensional(), draws(20, seed=seed), mean, num_samples=99) for seed in range(50)]
    p_values = xr.concat([table["p_value"] for table in tables], "repeat").sel(statistic="mean")
    assert stats.kstest(p_values.sel(kind="population"), "uniform").pvalue > 1e-3
    assert p_values.sel(kind="local").min() > 0.2


def test_data_of_another_prior_fail_the_population_check_and_not_calibration(checked):
    verdict = check_predictive(checked[2.0])
    assert verdict.level == "bad"
    assert "spread of sums" in verdict.words
    assert check_predictive(checked[1.0]).level == "good"
    assert check_calibration(run_calibration(one_dimensional(), draws(200, 2.0), 300, 49)).level == "good"


def test_the_two_kinds_are_told_apart_in_words(checked):
    population, local = (check_predictive(checked[1.0], kind) for kind in ("population", "local"))
    assert population.diagnostic == "Population predictive check"
    assert "drawn from p(z) p(x|z)" in population.words
    assert "optimistic" not in population.words
    assert local.diagnostic == "Local predictive check"
    assert "drawn again from each datum's q(z|x)" in local.words
    assert "optimistic" in local.words
    assert "passing proves little" in local.words


@pytest.mark.slow
def test_a_local_check_passes_where_the_likelihood_is_right_and_fails_where_it_is_not():
    vae = one_dimensional()
    with torch.no_grad():
        vae.model.likelihood.log_sigma.fill_(math.log(2.0))
    found = run_predictive(vae, draws(200), num_samples=600)
    verdict = check_predictive(found, "local")
    assert verdict.level == "bad"
    assert "failing it weighs the more" in verdict.words


def test_a_users_statistics_of_a_datum_and_of_a_data_set():
    statistics = {"positive": lambda x: (x > 0).squeeze(-1), "largest": lambda x: x.max()}
    found = run_predictive(one_dimensional(), draws(50), statistics, num_samples=99)
    assert found["statistic"].to_numpy().tolist() == ["positive", "largest"]
    assert found["observed"].sel(statistic="positive") == (draws(50) > 0).double().mean()
    assert found["observed"].sel(statistic="largest") == draws(50).max()
    assert (found["p_value"] > 0.02).all()


def test_ties_count_on_both_sides():
    found = run_predictive(one_dimensional(), draws(50), {"one": lambda x: 1.0}, num_samples=20)
    assert (found["p_value"] == 1).all()


def test_default_statistics_fit_the_data():
    grey = torch.rand(3, 1, 4, 4)
    grey[0, 0, 0] = 0.0
    assert list(default_statistics(grey)) == ["mean", "standard deviation", "spread of sums", "share of zeros"]
    assert list(default_statistics(grey.round())) == ["mean", "standard deviation", "spread of sums"]
    assert list(default_statistics(torch.randn(5, 1))) == ["mean", "spread of sums"]
    assert list(default_statistics(torch.randn(1))) == ["mean"]
    values = {name: statistic(grey) for name, statistic in default_statistics(grey).items()}
    torch.testing.assert_close(values["mean"], grey.double().mean((1, 2, 3)))
    torch.testing.assert_close(values["standard deviation"], grey.double().flatten(1).std(1, correction=0))
    torch.testing.assert_close(values["spread of sums"], grey.double().sum((1, 2, 3)).std())
    torch.testing.assert_close(values["share of zeros"], torch.tensor([0.25, 0.0, 0.0]))


def test_default_statistics_are_those_of_the_observed_coordinates():
    x = torch.tensor([[1.0, 0.0, torch.nan, 4.0], [2.0, 2.0, 2.0, 6.0]])
    values = {name: statistic(x) for name, statistic in default_statistics(x).items()}
    expected = {
        "mean": [5 / 3, 3.0],
        "standard deviation": [np.std([1, 0, 4]), np.std([2, 2, 2, 6])],
        "spread of sums": np.std([5, 12], ddof=1),
        "share of zeros": [1 / 3, 0.0],
    }
    assert list(values) == list(expected)
    for name, value in values.items():
        assert np.allclose(value.numpy(), expected[name])


def test_a_datum_of_which_nothing_is_there_is_left_out():
    """Its mean is 0 / 0; the data were refused for it."""
    vae = pv.VAE((4,), 2, network="linear", likelihood={"name": "missing-pixels", "of": "gaussian"})
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1
    x[3], x[5, 1] = torch.nan, torch.nan
    x[::4, 2] = 0.0
    x[4, 2] = torch.nan
    table = run_predictive(vae, x, num_samples=20)
    rest = np.delete(x.double().numpy(), 3, axis=0)
    exact = {
        "mean": np.nanmean(rest, 1).mean(),
        "standard deviation": np.nanstd(rest, 1).mean(),
        "spread of sums": np.nansum(rest, 1).std(ddof=1),
        "share of zeros": ((rest == 0).sum(1) / (~np.isnan(rest)).sum(1)).mean(),
    }
    assert dict(zip(table["statistic"].values, table["observed"].values, strict=True)) == pytest.approx(exact)
    assert np.isfinite(table["replicated"]).all()
    gone = table["datum_p_value"].drop_sel(statistic="spread of sums").isnull()
    assert gone.sel(datum=3).all()
    assert not gone.drop_sel(datum=3).any()
    assert check_predictive(table).level in ("good", "doubtful", "bad")
    with pytest.raises(ModelError, match="expected finite numbers"):
        run_predictive(vae, torch.full((2, 4), torch.nan), num_samples=20)


def test_missing_coordinates_are_missing_in_replicates_too():
    vae = pv.VAE((4,), 2, network="linear", likelihood={"name": "missing-pixels", "of": "gaussian"})
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    x[::2, 1] = torch.nan
    seen = []
    run_predictive(vae, x, {"holes": lambda data: seen.append(data.isnan()) or data.nansum(1)}, num_samples=5)
    assert len(seen) == 1 + 2 * 5
    assert all(torch.equal(holes, x.isnan()) for holes in seen)


def test_grey_data_under_the_relaxed_bernoulli_are_refused_and_binary_data_are_not():
    vae = pv.VAE((1, 4, 4), 2, network="linear", likelihood="bernoulli-relaxed")
    grey = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DataError, match=r"data that the model can draw.*do not compare with its draws.*binarise"):
        run_predictive(vae, grey, num_samples=5)
    assert run_predictive(vae, grey.round(), num_samples=5)["p_value"].notnull().all()


@pytest.mark.slow
def test_passes_of_any_size_hold_whole_data_sets(monkeypatch):
    """Several replicates in a pass, one in a pass, and one in several passes."""
    x, statistics = draws(12), {"number": lambda data: float(len(data)), "mean": lambda data: data.squeeze(-1)}
    for numbers in (1000, 12, 5):
        monkeypatch.setattr("ppl_vae.inference.pair.evaluation.CHUNK_NUMBERS", numbers)
        found = run_predictive(one_dimensional(), x, statistics, num_samples=40)
        assert (found["replicated"].sel(statistic="number") == 12).all()
        assert found.sizes["draw"] == 40
        assert found["replicated"].sel(statistic="mean").std("draw").min() > 0.05


def test_a_users_pair_and_the_global_stream():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    x = torch.linspace(-1, 3, 30, dtype=torch.float64)
    first, again = (run_predictive(discrete_pair(), x, num_samples=50, seed=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    xr.testing.assert_identical(first, again)


def test_refuses_with_a_name():
    with pytest.raises(ModelError, match=r"statistic 'pair': expected a number for each of 5.*\[2\]"):
        run_predictive(one_dimensional(), draws(5), {"pair": lambda x: x[:2, 0]})
    with pytest.raises(ModelError, match="statistic 'log': expected finite"):
        run_predictive(one_dimensional(), draws(5), {"log": lambda x: (0 * x[:, 0]).log()})
    with pytest.raises(DataError, match="data are empty"):
        run_predictive(one_dimensional(), draws(0))
    with pytest.raises(ModelError, match="num_samples"):
        run_predictive(one_dimensional(), draws(5), num_samples=0)
    with pytest.raises(ModelError, match="num_samples must be an integer of at least 1, got None"):
        run_predictive(one_dimensional(), draws(5), num_samples=None)
    for statistics in ({}, [torch.mean]):
        with pytest.raises(ModelError, match="statistics: expected functions by name"):
            run_predictive(one_dimensional(), draws(5), statistics)
    with pytest.raises(ModelError, match="statistic 'a': expected a function of the data, got 3"):
        run_predictive(one_dimensional(), draws(5), {"a": 3})
    with pytest.raises(DataError, match="expected what run_predictive returns"):
        check_predictive(xr.Dataset({"pit": 1.0}))


def test_an_unknown_kind_is_refused(checked):
    with pytest.raises(ModelError, match="'population' or 'local', got 'prior'"):
        check_predictive(checked[1.0], "prior")


@pytest.mark.parametrize("number", [20, 200])
def test_few_replicates_still_tell_data_that_lie_far_beyond_them(number):
    """The figure is that of Student's t; for 200 data twice as spread the normal distance is above 15."""
    numbers = run_predictive(one_dimensional(), draws(200, 2.0), num_samples=number)
    verdict = check_predictive(numbers)
    assert verdict.level == "bad"
    # No finite number of replicates makes a p-value of 0, nor the tail of a t distribution that is none.
    assert verdict.value == pytest.approx(1e-6 * numbers.sizes["statistic"])
    assert verdict.figure.endswith("(smallest p, at most)")
    assert math.isnan(verdict.stderr)


@pytest.mark.parametrize(("number", "level"), [(29, "good"), (99, "doubtful"), (999, "bad")])
def test_replicates_that_are_all_one_number_have_no_tail_beyond_them(number, level):
    """The p-value is then 2 / (R + 1), as ``two_sided`` has it, however far the data are."""
    p_value, error = two_sided(0, number, number)
    assert p_value == pytest.approx(2 / (number + 1))
    numbers = {"observed": ("statistic", [5.0]), "p_value": (("kind", "statistic"), [[p_value]])}
    numbers |= {"replicated": (("kind", "statistic", "draw"), np.ones((1, 1, number)))}
    numbers |= {"p_value_stderr": (("kind", "statistic"), [[error]])}
    table = xr.Dataset(numbers, {"kind": ["population"], "statistic": ["T"]}, {"num_data": 1})
    verdict = check_predictive(table)
    assert verdict.value == pytest.approx(p_value)
    assert verdict.level == level


@pytest.mark.slow
def test_the_tail_beyond_all_replicates_is_that_of_students_t():
    """Normal replicates and a normal figure of the data: small p-values have the frequency they state."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(600):
        values = generator.standard_normal(21)
        above, below = (values[1:] >= values[0]).sum(), (values[1:] <= values[0]).sum()
        p_value, error = two_sided(above, below, 20)
        numbers = {"observed": ("statistic", values[:1]), "p_value": (("kind", "statistic"), [[p_value]])}
        numbers |= {"replicated": (("kind", "statistic", "draw"), values[None, None, 1:])}
        numbers |= {"p_value_stderr": (("kind", "statistic"), [[error]])}
        table = xr.Dataset(numbers, {"kind": ["population"], "statistic": ["T"]}, {"num_data": 1})
        found.append(check_predictive(table).value)
    for level in (0.01, 0.05):
        assert np.mean(np.array(found) <= level) < level + 4 * math.sqrt(level * (1 - level) / 600)
    assert np.mean(np.array(found) <= 0.01) > 0.002
