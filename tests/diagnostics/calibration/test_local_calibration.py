"""Calibration at given data: L-C2ST and posterior SBC on a linear-Gaussian model whose posterior is known.

z ~ N(0, I), x ~ N(W z, I): the posterior is N(P^-1 W' x, P^-1), P = I + W'W. The planted guides have half of its
standard deviation where x_0 > 2, and are the posterior elsewhere; or are beside it everywhere.
"""

import dataclasses

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import ppl_vae as pv
from ppl_vae.diagnostics import (
    QUICK,
    check_local_c2st,
    check_posterior_calibration,
    diagnose,
    run_local_c2st,
    run_posterior_calibration,
)
from ppl_vae.errors import DataError, ModelError

D, LATENTS = 6, 2
WEIGHT = torch.randn(D, LATENTS, generator=torch.Generator().manual_seed(1))
COVARIANCE = torch.linalg.inv(torch.eye(LATENTS) + WEIGHT.T @ WEIGHT)
ROOT = torch.linalg.cholesky(COVARIANCE)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([LATENTS]).to_event(1))
        pyro.sample("x", dist.Normal(z @ WEIGHT.T, 1.0).to_event(1), obs=x)


def guide(scale_of=lambda x: torch.ones(len(x)), shift=0.0):
    def program(x):
        root = scale_of(x)[:, None, None] * ROOT
        with pyro.plate("data", len(x)):
            mean = x @ WEIGHT @ COVARIANCE + shift * COVARIANCE[0, 0].sqrt() * torch.eye(LATENTS)[0]
            pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=root))

    return program


def narrow_beyond(x):
    return torch.where(x[:, 0] > 2, 0.5, 1.0)


def data(first, count=5):
    """Data of the model whose x_0 is near a value."""
    draw = torch.Generator().manual_seed(2)
    z = torch.randn(20000, LATENTS, generator=draw)
    x = z @ WEIGHT.T + torch.randn(20000, D, generator=draw)
    return x[(x[:, 0] - first).abs().argsort()[:count]]


def test_the_posterior_is_not_found_wrong_and_the_power_is_told():
    numbers = run_local_c2st((model, guide()), data(0.0), 400, 39)
    verdict = check_local_c2st(numbers)
    assert verdict.level in ("good", "unknown")
    assert not numbers["found"].any()
    assert f"found in {numbers.attrs['power_narrow']:.0%} of linear-Gaussian models" in verdict.words


@pytest.mark.slow
def test_p_values_are_uniform_where_the_guide_is_the_posterior():
    x = data(0.0, 1)
    found = [float(run_local_c2st((model, guide()), x, 100, 59, seed=seed)["p_value"][0]) for seed in range(120)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{"scale_of": lambda x: torch.full((len(x),), 0.8)}, {"shift": 0.5}])
def test_planted_faults_are_found_no_less_often_than_the_power_says(fault):
    """In 40 sets of simulations, within four errors. Correlated latents, which these are, make a shift plainer."""
    x, found, told = data(0.0, 1), [], []
    for seed in range(40):
        numbers = run_local_c2st((model, guide(**fault)), x, 400, 59, seed=seed)
        found.append(float(numbers["p_value"][0]) <= 0.05)
        told.append(numbers.attrs["power_narrow" if "scale_of" in fault else "power_shifted"])
    assert np.mean(found) > np.mean(told) - 4 * (0.25 / 40) ** 0.5
    assert np.mean(told) > 0.5


def test_a_fault_is_seen_where_it_is():
    pair = (model, guide(narrow_beyond))
    there = run_local_c2st(pair, data(5.0), 1000, 99)
    away = run_local_c2st(pair, data(-5.0), 1000, 99)
    assert there["found"].all()
    assert check_local_c2st(there).level == "bad"
    assert float(there["statistic"].mean()) > 3 * float(away["statistic"].mean())


def test_calibration_around_data_is_that_of_the_guide_there():
    """Where x_0 is -5 its replicates reach 2 in one of 10^4, where it is 5 nearly always."""
    pair = (model, guide(narrow_beyond))
    there = run_posterior_calibration(pair, data(5.0, 1), 200, 400)
    away = run_posterior_calibration(pair, data(-5.0, 1), 200, 400)
    assert check_posterior_calibration(there).level == "bad"
    assert "too narrow" in check_posterior_calibration(there).words
    assert check_posterior_calibration(away).level == "good"


@pytest.mark.slow
def test_ranks_around_data_are_uniform_for_the_posterior_whatever_serves_as_prior():
    """Draws of a wrong guide at x are a prior like another, where the guide at the replicates is exact."""
    x = data(5.0, 1)
    only_here = guide(lambda rows: torch.where((rows == x).all(1), 0.7, 1.0))
    p_values = []
    for seed in range(100):
        numbers = run_posterior_calibration((model, only_here), x, 100, 600, seed=seed)
        p_values.append(float(numbers["p_value"].sel(quantity="z[0]")))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_few_effective_draws_come_to_no_verdict():
    numbers = run_posterior_calibration((model, guide()), data(0.0, 1), 20, 30)
    verdict = check_posterior_calibration(numbers)
    assert (verdict.level, float(numbers["ess"].max()) < 30) == ("unknown", True)
    assert "effective draws or fewer" in verdict.words


def test_what_cannot_be_asked_is_refused():
    def with_auxiliary(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(len(x)), 1.0), infer={"is_auxiliary": True})
            mean = x @ WEIGHT @ COVARIANCE + 0.1 * a.unsqueeze(-1)
            pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=ROOT))

    with pytest.raises(ModelError, match="site 'a' is auxiliary"):
        run_posterior_calibration((model, with_auxiliary), data(0.0), 20, 30)
    with pytest.raises(ModelError, match="num_nulls must be an integer of at least 19"):
        run_local_c2st((model, guide()), data(0.0), 100, 5)
    with pytest.raises(DataError, match="expected what run_local_c2st returns"):
        check_local_c2st(run_posterior_calibration((model, guide()), data(0.0, 1), 20, 30))
    with pytest.raises(DataError, match="expected what run_local_c2st returns"):
        pv.plots.plot_local_c2st(run_posterior_calibration((model, guide()), data(0.0, 1), 20, 30))


BOTH = ["local_c2st", "posterior_calibration"]


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "level"), [(1.0, "good"), (0.6, "bad")])
def test_a_diagnosis_asks_both_where_they_are_named_and_tells_the_power_beside_the_verdict(scale, level):
    """On data of the model the exact guide passes, and one of 0.6 of the posterior's deviation is found."""
    wrong = (model, guide(lambda x: torch.full((len(x),), scale)))
    effort = dataclasses.replace(QUICK, num_simulations=1000, num_samples=1000)
    found = diagnose(wrong, data(0.0, 40), topics=BOTH, effort=effort, progress=False)
    assert list(found.findings) == BOTH
    local, around = found.verdicts
    assert (local.level, around.level) == (level, level)
    power = found.numbers["local_c2st"].attrs["power_narrow"]
    assert power > 0.5
    assert f"found in {power:.0%} of linear-Gaussian models" in local.words


def test_topics_on_demand_are_left_out_unless_named():
    x = data(0.0, 10)
    assert not set(BOTH) & set(diagnose((model, guide()), x, topics="usual", seconds=1e-9).findings)
    named = diagnose((model, guide()), x, topics=["usual", "local_c2st"], seconds=1e-9)
    assert list(named.findings)[-1] == "local_c2st"
    with pytest.raises(DataError, match="unknown diagnostic 'usuall'; did you mean 'usual'"):
        diagnose((model, guide()), x, topics=["usuall"])
