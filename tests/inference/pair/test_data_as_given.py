"""Data as users bring them: what programs observe of them, whose gradient they carry, in which order they stand."""

import copy

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import (
    check_predictive,
    run_calibration,
    run_importance,
    run_predictive,
    simulate_posteriors,
)
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.simulation import simulate
from tests.inference.pair.user_programs import X, guide, model


@pytest.fixture(autouse=True)
def _no_parameters_left():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def observing(read):
    """A model that observes read(x) ~ N(z, 1), and its exact posterior."""

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=read(x))

    def ours(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * read(x), 0.5**0.5))

    return theirs, ours


DRAWN = 2**0.5 * torch.randn(60, generator=torch.Generator().manual_seed(0))
MADE = {
    "standardised": (lambda x: (x - 50) / 10, 50 + 10 * DRAWN),
    "logarithm": (torch.log, DRAWN.exp()),
    "part": (lambda x: x[:, 0], torch.stack([DRAWN, 100 + DRAWN], 1)),
}


@pytest.mark.parametrize("name", MADE)
def test_replicates_are_compared_with_what_the_model_observes(name):
    """The guide is exact and the data are the model's: nothing is bad. Replicates of read(x) are none of x."""
    read, x = MADE[name]
    numbers = run_predictive(observing(read), x, num_samples=100)
    assert check_predictive(numbers).level == "good"
    assert numbers["observed"].sel(statistic="mean").item() == pytest.approx(DRAWN.mean().item(), abs=1e-4)


@pytest.mark.parametrize("name", ["standardised", "logarithm"])
def test_a_draw_of_what_is_made_of_x_is_no_x(name):
    read, x = MADE[name]
    for told in (lambda: run_calibration(observing(read), x), lambda: simulate(observing(read)[0], x)):
        with pytest.raises(ModelError, match="site 'x' observes something that is made of the model's argument"):
            told()


def test_a_draw_of_a_part_of_x_is_put_back():
    read, x = MADE["part"]
    drawn = simulate(observing(read)[0], x)
    assert torch.equal(drawn.x[:, 1], x[:, 1])
    assert torch.equal(drawn.x[:, 0], drawn.observed["x"])


def test_a_reading_that_leaves_its_own_draws_alone_may_stand_for_x():
    drawn = simulate(observing(lambda x: x.clamp(-100, 100))[0], DRAWN)
    assert torch.equal(drawn.x, drawn.observed["x"])


@pytest.mark.slow
def test_data_that_carry_a_gradient_are_no_parameter():
    x = X.clone().requires_grad_()
    options = {"estimators": ["monte-carlo-kl"], "num_repeats": 20, "progress": False}
    xr.testing.assert_identical(
        pv.compare_estimators((model, guide), x, **options).drop_vars("seconds", errors="ignore").get(["value"]),
        pv.compare_estimators((model, guide), X, **options).drop_vars("seconds", errors="ignore").get(["value"]),
    )


def test_missing_data_are_named_and_not_the_guides_parameters():
    x = X.clone()
    x[3] = torch.nan
    for told in (pv.log_evidence, run_importance):
        with pytest.raises(DataError, match=r"site 'x': the data have 1 NaN, the first at index \[3\]"):
            told((model, guide), x, num_samples=30)


def trained(pair, x):
    return pv.fit(pair, x, elbo="monte-carlo-kl", epochs=1, compile=False, progress=False)


class SummedOverTheBatch(dist.Normal):
    """A user's own distribution, whose density is one number for all data."""

    def expand(self, batch_shape, _instance=None):
        return SummedOverTheBatch(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def log_prob(self, value):
        return super().log_prob(value).sum()


def test_a_density_of_the_whole_batch_does_not_count_for_every_datum():
    def ours(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", SummedOverTheBatch(pyro.param("slope", torch.tensor(0.5)) * x, torch.tensor(0.8)))

    for told in (pv.log_evidence, trained):
        with pytest.raises(ModelError, match=r"site 'z' has a density of shape \[\] where"):
            told((model, ours), X)
    with pytest.raises(ModelError, match=r"site 'z' has a density of shape \[\] where"):
        inf.get_elbo("monte-carlo-kl").per_datum(model, ours, X)


def test_indices_in_x_are_floats_and_the_error_says_so():
    def ours(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.tensor([0.1, 0.2])[x], 0.8))

    with pytest.raises(ModelError, match=r"reaches the programs as floats; use x\.long\(\)"):
        pv.evaluate((model, ours), torch.tensor([0, 1, 1, 0]))


def test_a_parameter_that_is_copied_has_no_gradient_and_is_told_so():
    def ours(x):
        with pyro.plate("data", len(x)):
            scale = torch.tensor([pyro.param("scale", torch.tensor(0.8)).item()])
            pyro.sample("z", dist.Normal(0.5 * x, scale))

    with pytest.raises(ModelError, match="the loss depends on no parameter"):
        trained((model, ours), X)


def frame(names="abc", rows=30):
    random = np.random.default_rng(0)
    return pd.DataFrame(random.normal(size=(rows, 3)) * [1, 5, 0.1] + [0, 10, 100], columns=list(names))


def test_columns_in_another_order_than_the_training_datas_are_refused():
    vae, data = pv.VAE((3,), 2, network="linear", likelihood="gaussian"), frame()
    pv.fit(vae, data, epochs=1, compile=False, progress=False)
    told = pv.evaluate(vae, data).elbo
    assert torch.equal(pv.evaluate(vae, data.to_numpy()[:, :]).elbo, told)
    assert torch.equal(pv.evaluate(vae, data.set_axis(["x", "y", "z"], axis=1)).elbo, told)
    labelled = xr.DataArray(
        data[["c", "a", "b"]].to_numpy(), dims=("row", "column"), coords={"column": list("cab")}
    )
    for other in (data[["c", "a", "b"]], labelled):
        asked = (
            pv.evaluate, pv.log_evidence, run_importance, lambda *pair: pv.fit(*pair, progress=False),
            type(vae).encode, type(vae).reconstruct, type(vae).initialise, simulate_posteriors,
        )  # fmt: skip
        for ask in asked:
            with pytest.raises(DataError, match="another order: c, a, b where the model was trained on a, b, c"):
                ask(vae, other)


def test_codes_of_a_table_of_named_columns_are_of_its_columns_in_any_order():
    data = frame()
    vae = pv.VAE((3,), 2, network="linear", likelihood=pv.models.Columns(dict.fromkeys("abc", "gaussian")))
    vae.initialise(data)
    for ask in (lambda x: vae.encode(x).mean, vae.reconstruct):
        assert torch.equal(ask(data[["c", "a", "b"]]), ask(data))
        torch.testing.assert_close(ask(data), ask(torch.tensor(data.to_numpy(), dtype=torch.float32)))


@pytest.mark.slow
def test_a_copy_and_a_stored_model_know_the_order_of_the_columns(tmp_path):
    vae, data = pv.VAE((3,), 2, network="linear", likelihood="gaussian"), frame()
    pv.fit(vae, data, epochs=1, compile=False, progress=False, out_dir=tmp_path)
    told = pv.evaluate(vae, data).elbo
    pv.load(tmp_path).save(tmp_path / "again")
    for other in (copy.deepcopy(vae), pv.load(tmp_path), pv.load(tmp_path / "again")):
        assert torch.equal(pv.evaluate(other, data).elbo, told)
        with pytest.raises(DataError, match="another order: b, c, a where the model was trained on a, b, c"):
            pv.evaluate(other, data[["b", "c", "a"]])


def test_a_model_that_was_stored_without_names_takes_columns_as_they_come(tmp_path):
    pv.VAE((3,), 2, network="linear", likelihood="gaussian").save(tmp_path)
    vae = pv.load(tmp_path)
    assert torch.equal(pv.evaluate(vae, frame("cab")).elbo, pv.evaluate(vae, frame("abc")).elbo)


def test_columns_of_a_covariate_in_another_order_are_refused():
    def theirs(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + 2.0 * c[:, 0] + c[:, 1], 1.0), obs=x)

    def ours(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("w", torch.tensor(0.5)) * (x - c[:, 0]), 0.8))

    data = frame()
    x, c = data["a"], data[["b", "c"]]
    pv.fit((theirs, ours), (x, c), epochs=1, compile=False, progress=False)
    told = pv.evaluate((theirs, ours), (x, c)).elbo
    assert torch.equal(pv.evaluate((theirs, ours), (x, c.to_numpy())).elbo, told)
    for given in ((x, c[["c", "b"]]), {"x": x, "c": c[["c", "b"]]}):
        with pytest.raises(DataError, match=r"c: the names along a dimension .* c, b where .* trained on b, c"):
            pv.evaluate((theirs, ours), given)


def test_rows_that_an_index_counts_belong_to_those_of_the_same_number():
    def theirs(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + c, 1.0), obs=x)

    def ours(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * (x - c), 0.8))

    data = frame()
    told = pv.evaluate((theirs, ours), (data["a"], data["c"])).elbo
    shuffled = data.sample(frac=1.0, random_state=0)
    for x, c in ((data["a"], shuffled["c"]), (shuffled["a"], data["c"])):
        with pytest.raises(DataError, match="c: its rows are named otherwise than those of x"):
            pv.evaluate((theirs, ours), (x, c))
    some = data.iloc[10:20]
    found = pv.evaluate((theirs, ours), (some["a"], some["c"].reset_index(drop=True)))
    assert len(found.elbo) == 10
    assert torch.equal(pv.evaluate((theirs, ours), (data["a"].to_numpy(), data["c"])).elbo, told)
