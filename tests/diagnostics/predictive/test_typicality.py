"""P-values of the model's own data are uniform, and planted foreign sets are found: power stated."""

import math

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from scipy import stats

from ppl_vae import plots
from ppl_vae.diagnostics.predictive.typicality import (
    check_typicality,
    discoveries,
    of_both,
    run_typicality,
    two_sided,
)
from ppl_vae.errors import DataError, ModelError
from tests.diagnostics.faulty_guides import planted
from tests.scenarios import draw_data, linear_gaussian

SMALL = {"num_simulations": 400, "num_samples": 25}


@pytest.fixture(scope="module")
def model():
    """A linear-Gaussian model of eight coordinates under its exact guide."""
    return linear_gaussian(seed=2, data_dim=8, latent_dim=2, guide="exact")


@pytest.mark.parametrize("fault", ["exact", "narrow"])
def test_p_values_of_the_models_own_data_are_uniform(fault):
    """Under a bad guide too, since simulated data go through the same estimator."""
    lg = planted(fault)
    table = run_typicality(lg, draw_data(lg, 200, seed=5), **SMALL)
    for name in ("p_evidence", "p_distance", "p_value"):
        assert stats.kstest(table[name], "uniform").pvalue > 1e-3
    assert table["foreign"].sum() <= 2
    assert (table["p_evidence_stderr"] > 0).all()


def noisier(x):
    return x + 2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)


def permuted(x):
    return x[:, [5, 3, 7, 0, 6, 2, 1, 4]]


def farther(x):
    return x + 6


@pytest.mark.parametrize(
    ("change", "power"), [(noisier, 0.8), (permuted, 0.5), (farther, 0.95)], ids=["noise", "permuted", "shifted"]
)
def test_planted_foreign_sets_are_found(model, change, power):
    table = run_typicality(model, change(draw_data(model, 60, seed=3)), **SMALL)
    found = table["foreign"].mean().item()
    assert found > power
    assert check_typicality(table).level == "bad"


def test_data_too_near_the_mean_are_atypical_too(model):
    """Of 8 dimensions the point of highest density is unlike any draw: |x|^2 is far below its mean."""
    x = model.bias.detach().expand(50, 8).clone()
    table = run_typicality(model, x, **SMALL)
    assert (table["p_evidence"] < 0.02).all()
    assert table["log_evidence"].min() > np.quantile(table["simulated_log_evidence"], 0.98)


def test_log_evidence_is_the_closed_form(model):
    x = draw_data(model, 4)
    table = run_typicality(model, x, num_simulations=40, num_samples=25)
    covariance = model.weight @ model.weight.mT + model.sigma**2 * torch.eye(8, dtype=torch.float64)
    exact = torch.distributions.MultivariateNormal(model.bias, covariance).log_prob(x).detach()
    assert table["log_evidence"].values == pytest.approx(exact.numpy(), abs=1e-9)


def test_a_latent_of_one_number_has_a_place_too():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, 0.5**0.5))

    table = run_typicality((model, guide), torch.tensor([1.0, 20.0]), **SMALL)
    np.testing.assert_allclose(table["log_evidence"], stats.norm(0, 2**0.5).logpdf([1, 20]), rtol=1e-4)
    assert table["foreign"].values.tolist() == [0, 1]


class OfTwoNoises:
    """x ~ N(z, s^2) in six coordinates, s = 1 or e^2 by a covariate, with the exact guide."""

    def model(self, x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
            pyro.sample(
                "x", dist.Normal(z.expand(*z.shape[:-1], 6), (2 * c).exp().unsqueeze(-1)).to_event(1), obs=x
            )

    def guide(self, x, c):
        weight = (-4 * c).exp()
        precision = 1 + 6 * weight
        with pyro.plate("data", len(x)):
            loc, scale = (x.sum(-1) * weight / precision).unsqueeze(-1), precision.rsqrt().unsqueeze(-1)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


def test_data_in_the_order_of_a_covariate_are_as_typical_as_in_any():
    """The model's own data, more of them than simulations: simulated for the first alone, half would be foreign."""
    generator, c = torch.Generator().manual_seed(0), torch.arange(300) // 150
    z, noise = torch.randn(300, 1, generator=generator), torch.randn(300, 6, generator=generator)
    x, pair = z + (2 * c).exp().unsqueeze(-1) * noise, OfTwoNoises()
    table = run_typicality((pair.model, pair.guide), (x, c.float()), num_simulations=200, num_samples=25)
    assert table["foreign"].sum() <= 3
    assert stats.kstest(table["p_value"], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("step", [1e-9, 1.0], ids=["continuous", "with ties"])
def test_no_level_rejects_more_of_a_pool_than_its_share(step):
    """Each of 60 points once the datum, the others the simulated ones: the p-value's level is a count, exactly."""
    size = 60
    pool = np.round(np.random.default_rng(0).normal(size=(2, size)) / step) * step
    p_values = [of_both(pool[:, [i]], np.delete(pool, i, 1)).item() for i in range(size)]
    for rank in range(1, size + 1):
        assert (np.array(p_values) <= (rank + 0.5) / size).sum() <= rank
    assert min(p_values) == 1 / size


def test_data_are_ranked_one_by_one():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(size=(2, 2050)), rng.normal(size=(2, 30))
    few = [of_both(ours[:, [i]], theirs).item() for i in (0, 1023, 1024, 2049)]
    assert of_both(ours, theirs)[[0, 1023, 1024, 2049]].tolist() == few


def test_false_discoveries_are_those_of_benjamini_and_hochberg():
    p = np.array([0.3, 0.001, 0.02, 0.9, 0.008])
    expected = stats.false_discovery_control(p) <= 0.05
    assert discoveries(p, 0.05).tolist() == expected.tolist()
    assert two_sided(np.array([0.0, 5.0, 99.0]), np.arange(10.0)) == pytest.approx([4 / 11, 1.0, 2 / 11])


def test_verdicts_say_when_simulations_are_too_few():
    def made(foreign, count=400, simulations=50000):
        return xr.Dataset(
            {
                "p_value": ("datum", np.full(count, 0.5)),
                "foreign": ("datum", np.arange(count) < foreign),
                "simulated_distance": ("simulation", np.zeros(simulations)),
            },
            attrs={"false_discoveries": 0.1},
        )

    assert [check_typicality(made(n)).level for n in (0, 1, 20, 80)] == ["good", "good", "doubtful", "bad"]
    # Two standard errors of 0 and of 6 foreign ones: 0 + 2 * 0.99% of 100 data, 1.5% - 2 * 0.6% of 400.
    for undecided in (made(0, count=100), made(6)):
        verdict = check_typicality(undecided)
        assert verdict.level == "unknown"
        assert "this does not decide whether more than 1% are" in verdict.words
    assert check_typicality(made(0, simulations=20)).level == "unknown"
    with pytest.raises(DataError, match="expected what run_typicality returns"):
        check_typicality(xr.Dataset())


def test_what_cannot_be_is_refused_and_the_figure_says_it_all(model):
    x = draw_data(model, 5)
    with pytest.raises(ModelError, match="num_simulations must be an integer of at least 40"):
        run_typicality(model, x, num_simulations=3)
    with pytest.raises(ModelError, match="false_discoveries must lie between 0 and 1"):
        run_typicality(model, x, false_discoveries=math.nan)
    figure = plots.plot_typicality(run_typicality(model, x, num_simulations=40, num_samples=25))
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "log p(x), nats", "distance of the code, sd", "p-value"
    ]  # fmt: skip
    with pytest.raises(DataError, match="missing p_value"):
        plots.plot_typicality(xr.Dataset())


@pytest.mark.slow
def test_p_values_are_uniform_over_200_repeats(model):
    """One datum each of 200 models' worth of simulations: no two share any."""
    values = [
        run_typicality(model, draw_data(model, 1, seed=seed), num_simulations=100, num_samples=25, seed=seed)[
            "p_value"
        ].item()
        for seed in range(200)
    ]
    assert stats.kstest(values, "uniform").pvalue > 1e-3
