"""log p(x) by two methods: exact where the model is linear-Gaussian, and each caught where it is too low."""

import numpy as np
import pytest
import torch
import xarray as xr

from ppl_vae.diagnostics.evidence.evidence import check_evidence, run_evidence
from ppl_vae.errors import DataError
from tests.scenarios import draw_data, linear_gaussian


@pytest.fixture(scope="module")
def exact():
    lg = linear_gaussian(guide="exact")
    x = draw_data(lg, 12)
    return lg, x, run_evidence(lg, x, num_annealed=4, num_chains=8, num_temperatures=150)


def table_of(difference, error=0.01, importance=-50.0, count=4):
    annealed = np.full(10, np.nan)
    annealed[:count] = importance + difference
    columns = {
        "elbo": np.full(10, importance - 2.0),
        "importance": importance + np.linspace(-1, 1, 10) * 0,
        "importance_stderr": np.full(10, 0.0),
        "annealed": annealed,
        "annealed_stderr": np.where(np.isnan(annealed), np.nan, error),
    }
    return xr.Dataset(
        {k: ("datum", v) for k, v in columns.items()}, attrs={"num_samples": 9, "why_not_annealed": "no"}
    )


def test_both_find_log_p_of_x(exact):
    lg, x, table = exact
    truth = lg.log_evidence(x).detach().numpy()
    np.testing.assert_allclose(table["importance"], truth, atol=1e-9)
    np.testing.assert_allclose(table["elbo"], truth, atol=1e-9)
    annealed = table.isel(datum=slice(4))
    score = (annealed["annealed"] - truth[:4]) / annealed["annealed_stderr"]
    # A lower bound in expectation: four standard errors down for its bias, three up.
    assert score.min() > -4
    assert score.max() < 3
    assert table["annealed"].isel(datum=slice(4, None)).isnull().all()


def test_the_verdict_has_the_mean_over_all_data(exact):
    lg, x, table = exact
    verdict = check_evidence(table)
    truth = lg.log_evidence(x).detach()
    assert verdict.value == pytest.approx(truth.mean().item(), abs=1e-9)
    assert verdict.stderr == pytest.approx(truth.std().item() / np.sqrt(12), rel=1e-6)
    assert verdict.unit == "nats per datum"


@pytest.mark.parametrize(
    ("difference", "level", "words"),
    [
        (0.05, "good", "agree"),
        (0.3, "doubtful", "finds 0.30 ± 0.01 nats more on 4 of the data"),
        (2.0, "bad", "finds 2.00"),
        (-0.05, "good", "agree"),
        (-0.6, "unknown", "annealing was too fast to be a check"),
    ],
)
def test_who_lies_too_low(difference, level, words):
    # Four data with 0.02 each: the mean difference has an error of 0.01.
    verdict = check_evidence(table_of(difference, error=0.02))
    assert verdict.level == level
    assert words in verdict.words
    assert bool(verdict.advice) == (level != "good")


@pytest.mark.parametrize(
    ("difference", "error"),
    [(2.0, 1.5), (8.0, 5.0), (0.3, 0.2), (-0.25, 0.1), (0.0, 0.1), (0.09, 0.02), (0.0, np.nan), (0.0, np.inf)],
)
def test_a_difference_that_is_not_known_is_neither_a_fault_nor_good(difference, error):
    # Four data: an error of the mean is half that of a datum.
    verdict = check_evidence(table_of(difference, error=2 * error))
    assert verdict.level == "unknown"
    assert "the error is too wide to say whether the two methods agree" in verdict.words
    assert "nan" not in verdict.words


def test_annealings_own_bias_widens_the_upper_end_alone():
    """Half the variance of a datum's mean weight, to first order: 400 data hide it from the error of their mean."""
    many = xr.concat([table_of(0.0, error=0.5)] * 100, "datum", data_vars="all").assign_attrs(num_samples=9)
    assert check_evidence(many).level == "unknown"
    assert check_evidence(many.assign(annealed=many["annealed"] + 0.3)).level == "doubtful"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_gap_of_half_a_nat_is_hardly_ever_called_good(seed):
    """Chains with log-normal weights of unit spread, whose true log p(x) is 0.5 nats above the importance bound."""
    rng, good, bad, repeats = np.random.default_rng(seed), 0, 0, 200
    for _ in range(repeats):
        log_weight = rng.normal(-0.5, 1.0, size=(8, 16))
        weight = np.exp(log_weight)
        error = weight.std(0, ddof=1) / np.sqrt(8) / weight.mean(0)
        table = table_of(0.0, count=10)
        annealed = {"annealed": np.log(weight.mean(0))[:10] - 49.5, "annealed_stderr": error[:10]}
        table = table.assign({name: ("datum", values) for name, values in annealed.items()})
        level = check_evidence(table).level
        good, bad = good + (level == "good"), bad + (level == "bad")
    assert good == 0
    # "bad" is false as well, the gap being 0.5 and no more: one-sided at two standard errors.
    assert bad <= repeats * 0.023 + 4 * np.sqrt(repeats * 0.023)


# NaN in "annealed" is where a datum was not annealed.
@pytest.mark.parametrize(
    ("name", "value"), [("elbo", np.nan), ("importance", np.nan), ("importance", np.inf), ("annealed", np.inf)]
)
def test_figures_that_are_no_numbers_are_refused_by_name(name, value):
    table = table_of(0.0)
    table[name][1] = value
    with pytest.raises(DataError, match=f"1 of the .* numbers of '{name}' are NaN or infinite"):
        check_evidence(table)


def test_no_data_are_no_evidence():
    with pytest.raises(DataError, match="found nothing along 'datum'"):
        check_evidence(table_of(0.0).isel(datum=slice(0)))


def test_a_discrete_site_has_no_second_method():
    import pyro
    from pyro import distributions as dist

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(3.0 * k, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Bernoulli(torch.sigmoid(3.0 * x - 4.5)))

    table = run_evidence((model, guide), torch.tensor([-1.0, 1.0, 4.0]))
    assert "'k'" in table.attrs["why_not_annealed"]
    verdict = check_evidence(table)
    assert verdict.level == "unknown"
    assert "no second method" in verdict.words


def test_other_numbers_are_refused():
    with pytest.raises(DataError, match="expected what run_evidence returns"):
        check_evidence(xr.Dataset({"khat": ("datum", [0.1])}))
