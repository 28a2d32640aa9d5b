"""HMC against closed forms and quadrature, and the guide held against it."""

import math

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics import check_reference, run_reference
from ppl_vae.diagnostics.arviz.container import ess
from ppl_vae.errors import DataError, ModelError
from tests.diagnostics.faulty_guides import planted
from tests.scenarios import all_binary, binary_mlp, draw_data, quadrature_posterior_mean

QUICK = {"num_samples": 200, "num_warmup": 120, "num_chains": 2}


def off_in_standard_errors(draws, mean, variance):
    """Differences of mean and variance over the chains [chain, draw, U], in Monte-Carlo errors."""
    pooled, worth = draws.reshape(-1, draws.shape[-1]), ess(draws)
    squares = (draws - np.asarray(mean)) ** 2
    means = (pooled.mean(0) - mean) / np.sqrt(variance / worth)
    error = squares.reshape(pooled.shape).std(0) / np.sqrt(ess(squares))
    return np.abs(means).max(), np.abs((squares.reshape(pooled.shape).mean(0) - variance) / error).max()


@pytest.fixture(scope="module")
def exact():
    """HMC on one datum of a linear-Gaussian model whose guide is the posterior."""
    lg = planted("exact")
    x = draw_data(lg, 1)
    return lg, x, run_reference(lg, x, **QUICK)


@pytest.mark.slow
def test_hmc_has_the_moments_of_the_exact_posterior(exact):
    lg, x, table = exact
    posterior = lg.posterior(x)
    assert table["z"].dims == ("datum", "chain", "draw", "latent")
    assert table["rhat"].item() < 1.03
    found = off_in_standard_errors(
        table["z"].values[0], posterior.mean[0].detach().numpy(), posterior.variance[0].detach().numpy()
    )
    assert max(found) < 4.5


@pytest.mark.slow
def test_the_exact_guide_cannot_be_told_from_it(exact):
    *_, table = exact
    error = table["c2st_stderr"].item()
    assert abs(table["c2st"].item() - 0.5) < 5 * error
    assert abs(table["mmd"].item()) < 5 * table["mmd_stderr"].item()
    assert table["mean_difference"].item() < 0.2
    assert table["divergences"].item() == 0
    assert len(table["guide_draw"]) == 400


@pytest.mark.slow
def test_nothing_is_left_behind_and_a_seed_is_a_result():
    lg = pv.LinearGaussianVAE(torch.ones(2, 1, dtype=torch.float64), torch.zeros(2), 0.7)
    x, state = draw_data(lg, 1), torch.get_rng_state()
    first, second = (run_reference(lg, x, num_samples=40, num_warmup=20, num_chains=2, seed=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.identical(second)
    assert all(p.grad is None and p.requires_grad for p in lg.parameters())
    assert not pyro.get_param_store().keys()


def positive(x):
    """An exponential datum under a Gamma prior on its rate."""
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(torch.full((len(x), 1), 2.0, dtype=x.dtype), 1.0).to_event(1))
        pyro.sample("x", dist.Exponential(rate).to_event(1), obs=x)


def positive_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("rate", dist.LogNormal(torch.zeros_like(x), 0.5).to_event(1))


@pytest.mark.slow
def test_a_latent_that_must_be_positive_is_drawn_on_its_own_scale():
    """Gamma(2, 1) and one exponential datum make Gamma(3, 1 + x): mean 3 / (1 + x), variance 3 / (1 + x)^2."""
    x = torch.full((1, 1), 0.5, dtype=torch.float64)
    table = run_reference((positive, positive_guide), x, **QUICK)
    assert (table["rate"].values > 0).all()
    assert max(off_in_standard_errors(table["rate"].values[0], np.array([2.0]), np.array([3 / 2.25]))) < 4.5


def factor(x):
    with pyro.plate("data", len(x)):
        lower = pyro.sample("L", dist.LKJCholesky(2, x.new_full((), 2.0)))
        pyro.sample("x", dist.Normal(lower[..., 1, 0], 0.5), obs=x)


def prior_of_factor(x):
    with pyro.plate("data", len(x)):
        pyro.sample("L", dist.LKJCholesky(2, x.new_full((), 2.0)))


@pytest.mark.slow
def test_a_cholesky_factor_of_a_correlation_has_a_reference():
    """Its 0 and 1 have no R-hat. p(r) is (1 - r^2) up to a factor, so the posterior is a quadrature's."""
    x = torch.full((1,), 0.4, dtype=torch.float64)
    table = run_reference((factor, prior_of_factor), x, **QUICK)
    r = np.linspace(-1, 1, 4001)
    density = (1 - r**2) * np.exp(-0.5 * ((0.4 - r) / 0.5) ** 2)
    mean = (density * r).sum() / density.sum()
    spread = math.sqrt((density * r**2).sum() / density.sum() - mean**2)
    ess = float(table["ess"][0])
    assert abs(table["L"].values[0, ..., 1, 0].mean() - mean) < 4.5 * spread / math.sqrt(ess)
    assert 1 <= table["rhat"][0] < 1.05
    assert np.isfinite(table["mean_difference"]).all()


def switch(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("switch", dist.Bernoulli(torch.full((len(x), 1), 0.5)).to_event(1))
        pyro.sample("x", dist.Normal(b, 1.0).to_event(1), obs=x)


def switch_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("switch", dist.Bernoulli(torch.full((len(x), 1), 0.5)).to_event(1))


def named(site):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample(site, dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(site, dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))

    return model, guide


@pytest.mark.slow
def test_a_site_may_be_called_as_a_dimension_and_not_as_a_number_of_the_table():
    short = {"num_samples": 20, "num_warmup": 20, "num_chains": 2}
    table = run_reference(named("latent"), torch.zeros(1), **short)
    assert table["latent"].dims == ("datum", "chain", "draw", "latent_dim")
    with pytest.raises(ModelError, match="site 'ess': the table keeps that name"):
        run_reference(named("ess"), torch.zeros(1), **short)


def test_a_discrete_site_is_refused_by_name():
    with pytest.raises(ModelError, match="site 'switch' is discrete"):
        run_reference((switch, switch_guide), torch.zeros(1, 1), **QUICK)


# Verdicts --------------------------------------------------------------------------------------------------


def made(c2st=0.5, rhat=1.0, ess=1000.0, error=0.01, data=3):
    """What run_reference says of some data, of our choice."""
    names = {"c2st": c2st, "c2st_stderr": error, "rhat": rhat, "ess": ess, "mean_difference": 0.1}
    return xr.Dataset(
        {
            k: ("datum", np.full(data, v))
            for k, v in {**names, "covariance_difference": 0.1, "divergences": 0}.items()
        }
    )


@pytest.mark.parametrize(
    ("numbers", "level"),
    [
        ({"c2st": 0.52}, "good"),
        ({"c2st": 0.61}, "unknown"),
        ({"c2st": 0.62}, "doubtful"),
        ({"c2st": 0.55, "error": 0.2}, "unknown"),
        ({"c2st": 0.55, "error": np.nan}, "unknown"),
        ({"c2st": 0.65}, "doubtful"),
        ({"c2st": 0.8}, "bad"),
        ({"c2st": 0.8, "rhat": 1.4}, "unknown"),
        ({"c2st": 0.5, "ess": 50.0}, "unknown"),
    ],
)
def test_verdicts(numbers, level):
    verdict = check_reference(made(**numbers))
    assert verdict.level == level
    assert (level == "good") == (verdict.advice == "") == ("can hardly be told" in verdict.words)


def test_a_single_datum_without_a_covariance_is_said_so():
    words = check_reference(made(0.52, data=1).assign(covariance_difference=("datum", [np.nan]))).words
    assert words.startswith("On 1 datum the guide's draws can hardly")
    assert "nan" not in words


def test_data_whose_chains_have_not_settled_are_left_out_and_named_as_such():
    table = xr.concat([made(0.55, data=2), made(0.9, rhat=1.5, data=1)], "datum")
    verdict = check_reference(table)
    assert verdict.value == pytest.approx(0.55)
    assert "On 1 of 3 data the chains have not settled; they are left out." in verdict.words


def test_another_table_is_refused():
    with pytest.raises(DataError, match="expected what run_reference returns"):
        check_reference(xr.Dataset())


def test_a_distance_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="3 of the 3 numbers of 'c2st' are NaN"):
        check_reference(made(np.nan))


# Longer runs ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_hmc_has_the_moments_of_a_quadrature():
    """A two-dimensional code under an MLP-Bernoulli decoder: 2 data."""
    vae, x = binary_mlp(), all_binary()[[5, 40]]
    mean = quadrature_posterior_mean(vae, x).numpy()
    table = run_reference(vae, x, num_samples=500, num_warmup=200)
    assert table["rhat"].max() < 1.01
    for draws, expected in zip(table["z"].values, mean, strict=True):
        spread = draws.reshape(-1, 2).var(0)
        assert off_in_standard_errors(draws, expected, spread)[0] < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["exact", "narrow", "shifted", "collapsed"])
def test_a_planted_fault_is_pointed_at(fault):
    """The chains' own verdict, and the first two moments where a fault moves them."""
    lg = planted(fault)
    # The largest R-hat of two coordinates has to come below 1.01 where the verdict is to be "good".
    draws = 1000 if fault == "exact" else 400
    table = run_reference(lg, draw_data(lg, 1), num_samples=draws, num_warmup=200)
    verdict = check_reference(table)
    level = {"exact": ("good",), "narrow": ("doubtful", "unknown"), "shifted": ("doubtful", "bad")}
    assert verdict.level in level.get(fault, ("bad",))
    shift = {"shifted": 0.5, "exact": 0.0, "narrow": 0.0}.get(fault)
    if shift is not None:
        assert np.allclose(table["mean_difference"], shift, atol=0.12)
    if fault == "narrow":
        # Two Gaussians in the plane are told apart by |z|^2 > t, t = 2 v log(1 / v) / (1 - v), in .6285 of draws.
        v = 0.49
        t = 2 * v * np.log(1 / v) / (1 - v)
        best = (1 - np.exp(-t / (2 * v)) + np.exp(-t / 2)) / 2
        assert verdict.value == pytest.approx(best, abs=4 * verdict.stderr)
        # Both variances are 0.49 of what they should be.
        assert np.allclose(table["covariance_difference"], 0.51 * math.sqrt(2), atol=0.08)


@pytest.mark.slow
def test_a_mixture_prior_is_drawn_with_the_closed_forms_moments():
    """z ~ 1/2 N(-1, 1) + 1/2 N(1, 1), x | z ~ N(z, 1): a mixture of N((m + x) / 2, 1/2), weighted by N(x; m, 2)."""
    means, x = torch.tensor([-1.0, 1.0], dtype=torch.float64), torch.tensor([[0.4]], dtype=torch.float64)

    def model(x):
        parts = dist.Normal(means[:, None], 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(2, dtype=x.dtype)), parts))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, 1.0).to_event(1))

    table = run_reference((model, guide), x, num_samples=500, num_warmup=200, num_chains=2)
    weight = dist.Normal(means, math.sqrt(2)).log_prob(x).softmax(-1).squeeze(0)
    centres = (means + 0.4) / 2
    mean = float(weight @ centres)
    variance = float(weight @ (centres - mean).square()) + 0.5
    off = off_in_standard_errors(table["z"].values[0], np.array([mean]), np.array([variance]))
    assert max(off) < 4.5


def two_modes(scale):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=x.dtype), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.square(), scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sqrt(), 0.5 * scale).to_event(1))

    return model, guide


@pytest.mark.slow
def test_two_modes_that_the_chains_cross_are_told_from_a_guide_on_one():
    """Half of the posterior's draws lie where the guide has none: an accuracy of 3/4 at least."""
    table = run_reference(two_modes(0.6), torch.ones(1, 1, dtype=torch.float64), num_samples=700, num_warmup=250)
    assert table["rhat"].item() < 1.1
    assert check_reference(table).level in ("bad", "unknown")
    assert table["c2st"].item() > 0.7


@pytest.mark.slow
def test_two_modes_that_no_chain_crosses_are_pointed_at_by_rhat():
    table = run_reference(
        two_modes(0.05), torch.ones(1, 1, dtype=torch.float64), num_samples=60, num_warmup=60, num_chains=6
    )
    assert table["rhat"].item() > 1.5
    verdict = check_reference(table)
    assert verdict.level == "unknown"
    assert "several modes" in verdict.advice


def precision(x):
    p = pyro.sample("P", dist.Wishart(x.new_tensor(4.0), x.new_ones(2).diag()))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.MultivariateNormal(x.new_zeros(2), precision_matrix=p), obs=x)


def precision_guide(x):
    pyro.sample("P", dist.Wishart(x.new_tensor(5.0), x.new_ones(2).diag()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Singular sample")
def test_a_global_site_without_a_transform_is_refused_by_name():
    with pytest.raises(ModelError, match="site 'P': Wishart has no known transform"):
        run_reference((precision, precision_guide), torch.randn(3, 2), **QUICK)
