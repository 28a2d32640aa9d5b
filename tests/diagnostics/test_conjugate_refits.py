"""Refits of guides of conjugate global sites: ``simulate_refits`` and what judges it, against exact posteriors."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.distributions import constraints

from ppl_vae.diagnostics import (
    check_calibration,
    check_coverage,
    check_recovery,
    run_calibration,
    run_coverage,
    run_recovery,
    simulate_refits,
)

N, DRAWS = 8, 49
# One step that moves nothing: the guides below compute the posterior of the data that they are given.
STILL = {"epochs": 1, "lr": 1e-9, "elbo": "monte-carlo-kl", "device": "cpu", "compile": False}
FEATURES = torch.tensor(
    [[1.0, 0.2], [0.3, -1.0], [-0.8, 0.5], [1.4, 1.0], [0.1, 0.1], [-1.1, 0.9], [0.6, -0.4], [0.0, 2.0]]
)
CATEGORIES = torch.tensor([1.0, 2.0, 3.0])


def still():
    """A parameter that is trained and stays 0."""
    return pyro.param("still", torch.tensor(0.0))


# mu | tau ~ N(0, 1 / (K tau)), tau ~ Gamma(A, B), x_n ~ N(mu, 1 / tau)
A, B, K = 3.0, 2.0, 0.5


def normal_gamma(x):
    tau = pyro.sample("tau", dist.Gamma(A, B))
    mu = pyro.sample("mu", dist.Normal(0.0, (K * tau) ** -0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, tau**-0.5), obs=x)


def of_normal_gamma(x):
    n, mean = len(x), x.mean(-1)
    rate = B + 0.5 * (x - mean).square().sum() + K * n * mean.square() / (2 * (K + n))
    tau = pyro.sample("tau", dist.Gamma(A + n / 2, rate))
    pyro.sample("mu", dist.Normal(n * mean / (K + n) + still(), ((K + n) * tau) ** -0.5))


def categories(x):
    pi = pyro.sample("pi", dist.Dirichlet(CATEGORIES))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(pi), obs=x)


def of_categories(x):
    counts = torch.nn.functional.one_hot(x.long(), 3).sum(0)
    pyro.sample("pi", dist.Dirichlet((CATEGORIES + counts) * still().exp()))


def counts(x):
    rate = pyro.sample("rate", dist.Gamma(3.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Poisson(rate), obs=x)


def of_counts(x):
    pyro.sample("rate", dist.Gamma((3.0 + x.sum()) * still().exp(), 1.0 + len(x)))


def regression(x):
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal((x[:, :2] * weight).sum(-1), 0.5), obs=x[:, 2])


def of_regression(x):
    covariance = torch.linalg.inv(torch.eye(2) + 4 * FEATURES.T @ FEATURES)
    loc = 4 * covariance @ (FEATURES.T @ x[:, 2])
    pyro.sample("weight", dist.MultivariateNormal(loc + still(), covariance))


def two_levels(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(mu, 0.7))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def of_two_levels(x):
    variance = 1 / (1 + N / 0.74)
    mu = pyro.sample("mu", dist.Normal(variance * x.sum() / 0.74 + still(), variance**0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((mu / 0.49 + 4 * x) / (1 / 0.49 + 4), (1 / 0.49 + 4) ** -0.5))


ZEROS = torch.zeros(N)
# By name: model, guide, data, and 1 - E Var(g | x) / Var g of some sites in closed form.
CONJUGATE = {
    "normal-gamma": (normal_gamma, of_normal_gamma, ZEROS, {"mu": N / (N + K)}),
    # Var pi | x has the mean Var pi A / (A + N) for concentrations that add up to A.
    "Dirichlet": (categories, of_categories, ZEROS, {f"pi[{k}]": N / (N + 6) for k in range(3)}),
    # E (3 + sum x) / (1 + N)^2 = 3 / (1 + N), and Var = 3.
    "gamma": (counts, of_counts, ZEROS, {"rate": N / (N + 1)}),
    "regression": (regression, of_regression, torch.cat([FEATURES, torch.zeros(N, 1)], -1), {}),
    "two levels": (two_levels, of_two_levels, ZEROS, {"mu": 1 - 1 / (1 + N / 0.74)}),
}


def refitted(name, size):
    model, guide, x, _ = CONJUGATE[name]
    return simulate_refits(lambda: (model, guide), x, size, DRAWS, options=STILL, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONJUGATE)
def test_exact_posteriors_of_global_sites_are_calibrated(name):
    """Contraction has the error of the variance of 150 truths, sqrt(2 / 150) = 12% of a normal prior's."""
    found = refitted(name, 150)
    assert check_calibration(run_calibration(found)).value > 0.01
    assert check_coverage(run_coverage(found)).level in {"good", "unknown"}
    recovery = run_recovery(found)
    assert check_recovery(recovery).level in {"good", "unknown"}
    for quantity, contraction in CONJUGATE[name][3].items():
        told = recovery.sel(quantity=quantity)["mean_contraction"].item()
        assert abs(told - contraction) < 4 * 0.12 * (1 - contraction)


def test_draws_by_gammas_are_refitted_one_by_one():
    """Their steps cannot be taken as one, which ended in an error. The densities are those of Poisson and Gamma."""
    found = refitted("gamma", 3)
    rate, x = found.values["rate"], found.x
    assert rate.shape == (1 + DRAWS, 3)
    torch.testing.assert_close(found.log_prior, dist.Gamma(3.0, 1.0).log_prob(rate))
    likelihood = dist.Poisson(rate.unsqueeze(-1)).log_prob(x).sum(-1)
    torch.testing.assert_close(found.log_likelihood, likelihood, rtol=1e-5, atol=1e-4)
    exact = dist.Gamma(3.0 + x.sum(-1), torch.tensor(1.0 + N))
    z = (rate[1:].mean(0) - exact.mean) / (exact.variance / DRAWS).sqrt()
    assert z.abs().max() < 4


def normal_mean(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", N, subsample=x):
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


def learned(x):
    scale = pyro.param("scale", torch.tensor(0.5), constraint=constraints.positive)
    pyro.sample("mu", dist.Normal(pyro.param("loc", torch.tensor(0.0)), scale))


@pytest.mark.slow
def test_a_guide_that_is_fitted_by_batches_has_the_posterior_of_all_data():
    """N(sum x / 9, 1 / 9): batches of half the data that counted once would give N(sum x / 5, 1 / 5)."""
    options = {**STILL, "elbo": "analytic-kl", "epochs": 150, "lr": 0.05, "batch_size": 4, "schedule": "cosine"}
    found = simulate_refits(lambda: (normal_mean, learned), ZEROS, 30, 400, options=options, progress=False)
    draws = found.values["mu"][1:]
    # 400 draws know a mean to 0.017 and a standard deviation to 0.012; the rest is the noise of the last batches.
    assert (draws.mean(0) - found.x.sum(-1) / 9).abs().mean() < 0.05
    assert draws.std(0).mean().item() == pytest.approx(1 / 3, abs=0.025)
