"""Covariates beside x: by position and by name, in training, evaluation, evidence and every diagnostic."""

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import ppl_vae as pv
from ppl_vae import diagnostics
from ppl_vae.errors import CheckpointError, DataError, ModelError

D, N, SPREAD = 4, 120, 3.0
# What fit asks for a way to take its steps.
LOOP_CHOICE = "ppl_vae.inference.training.run_steps.choose"


class Model(nn.Module):
    """z ~ N(0, 1), x ~ N(1 z + 1 c + shift[site], I): given c and site everything is Gaussian."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D))
        self.shift = nn.Parameter(torch.tensor([0.0, 5.0, -5.0])[:, None].repeat(1, D))

    def mean(self, c, site):
        return c.unsqueeze(-1) * self.weight + self.shift[site]

    def forward(self, x, c, site):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1).to_event(1))
            pyro.sample("x", dist.Normal(z + self.mean(c, site), 1).to_event(1), obs=x)


class Guide(nn.Module):
    """The exact posterior of ``Model`` as it is made, N(sum_d (x_d - mean_d) / (D + 1), 1 / (D + 1))."""

    def __init__(self, model):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1 / (D + 1)))
        self.shift = nn.Parameter(model.shift.detach().clone())

    def forward(self, x, c, site):
        with pyro.plate("data", len(x)):
            residual = x - c.unsqueeze(-1) - self.shift[site]
            pyro.sample("z", dist.Normal(self.gain * residual.sum(-1, keepdim=True), (D + 1) ** -0.5).to_event(1))


def pair():
    model = Model()
    return model, Guide(model)


def data(n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    c = SPREAD * torch.randn(n, generator=generator)
    site = torch.randint(3, (n,), generator=generator)
    z, noise = torch.randn(n, 1, generator=generator), torch.randn(n, D, generator=generator)
    return (z + Model().mean(c, site) + noise).detach(), c, site


def named(x, c, site):
    return {"x": x, "c": c, "site": site}


def log_density(x, c, site):
    law = torch.distributions.MultivariateNormal(torch.zeros(D), torch.ones(D, D) + torch.eye(D))
    return law.log_prob(x - Model().mean(c, site)).detach().double()


def fit(programs, given, **options):
    settings = {"epochs": 3, "lr": 1e-2, "device": "cpu", "num_threads": 1, "progress": False, "compile": False}
    return pv.fit(programs, given, "monte-carlo-kl", **{**settings, **options})


def require_same(one, other):
    """One run: the same history and the same weights, bit for bit."""
    pd.testing.assert_frame_equal(one.history.drop(columns="seconds"), other.history.drop(columns="seconds"))
    for a, b in zip(one.model, other.model, strict=True):
        if isinstance(a, nn.Module):
            assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_exact_guide_given_covariates_has_the_closed_form():
    """At the exact posterior every draw's weight is p(x|c): rounding alone is between the two."""
    given = data()
    exact = log_density(*given)
    for form in (given, named(*given), named(given[0].numpy(), *given[1:])):
        evidence = pv.log_evidence(pair(), form, num_samples=10).per_datum
        torch.testing.assert_close(evidence, exact, rtol=0, atol=2e-4)
    elbo = pv.evaluate(pair(), given, num_particles=500).elbo.double()
    # log p(x|z) of a draw has a standard deviation below 3 nats on these data.
    assert ((elbo - exact).abs() < 5 * 3 / 500**0.5).all()


@pytest.mark.slow
def test_annealing_has_the_closed_form_too():
    given = tuple(part[:3] for part in data())
    found = pv.log_evidence(pair(), given, "ais", 16, num_temperatures=60)
    error = found.per_datum_stderr + 1e-3
    assert ((found.per_datum - log_density(*given)).abs() < 6 * error).all()


class Other(nn.Module):
    """A guide with other names, another order and a covariate less."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, image, *, site, c=None, temperature=1.0):
        return self.inner(image, c, site)


def test_each_program_is_passed_what_it_names():
    model, guide = pair()
    given = data()
    expected = pv.evaluate((model, guide), given)
    found = pv.evaluate((model, Other(guide)), named(*given))
    assert torch.equal(found.elbo, expected.elbo)

    def blind(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True), 1).to_event(1))

    assert pv.evaluate((model, blind), named(*given)).elbo.isfinite().all()
    with pytest.raises(
        ModelError, match="the guide takes nothing beside x, found 2 covariates by position; give a"
    ):
        pv.evaluate((model, blind), given)


def test_the_order_of_the_names_does_not_matter():
    x, c, site = data()
    found = pv.evaluate(pair(), {"site": site, "c": c, "x": x})
    assert torch.equal(found.elbo, pv.evaluate(pair(), (x, c, site)).elbo)


X, C, SITE = data()
REFUSED = {
    "nothing beside x": (X, ModelError, r"the model needs 'c' beside x: give data as a tuple \(x, c\) or a dict"),
    "too few": ((X, C), ModelError, "the model needs 'site' beside x"),
    "too many": ((X, C, SITE, SITE), ModelError, "the model takes c, site beside x, found 3"),
    "an unknown name": ({**named(X, C, SITE), "age": C}, DataError, "neither program has a parameter 'age'"),
    "a name missing": ({"x": X, "c": C}, ModelError, "the model needs 'site', which is not among the data"),
    "no x": ({"c": C, "site": SITE}, DataError, "expected 'x', the first parameter of the model"),
    "another length": ((X, C[:7], SITE), DataError, r"c: expected one for each of 120 data, \[N, ...\], found"),
    "NaN": (
        (X, C.clone().index_fill(0, torch.tensor([5]), torch.nan), SITE),
        DataError,
        r"c: NaN .* at index \[5\]",
    ),
    "text": ((X, C, np.array(["a"] * N)), DataError, "site: expected an array of numbers"),
}


@pytest.mark.parametrize(("given", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_data_that_do_not_fit_are_refused_by_name(given, kind, words):
    with pytest.raises(kind, match=words):
        pv.evaluate(pair(), given)
    with pytest.raises(kind, match=words):
        pv.log_evidence(pair(), given)
    if isinstance(given, tuple | dict):
        with pytest.raises(kind, match=words):
            fit(pair(), given)


class Records(Dataset):
    """A map-style data set of dicts, as Hugging Face's are."""

    def __init__(self, given):
        self.given = given

    def __len__(self):
        return len(self.given[0])

    def __getitem__(self, index):
        return named(*(part[index] for part in self.given))


@pytest.mark.slow
def test_one_history_whatever_way_covariates_come():
    given, held_out = data(), data(30, seed=1)
    options = {"batch_size": 32, "validation": held_out}
    first = fit(pair(), given, **options)
    require_same(first, fit(pair(), named(*given), **options | {"validation": named(*held_out)}))
    options = {"validation": held_out}
    batches = fit(pair(), DataLoader(TensorDataset(*given), 32), **options)
    require_same(batches, fit(pair(), DataLoader(Records(given), 32), **options))


@pytest.mark.parametrize("mode", ["traced", pytest.param("compiled", marks=pytest.mark.slow)])
def test_captured_steps_take_covariates_beside_their_data(mode, monkeypatch):
    """Under covariates of other data the ELBO would be lower by tens of nats."""
    given = data()
    eager = fit(pair(), given, batch_size=32, validation=0.2)
    monkeypatch.setattr(LOOP_CHOICE, lambda *_: pv.inference.compilation.step_choice.Choice(mode, ""))
    # Asked for by name, so that the run waits for the compiler.
    captured = fit(pair(), given, batch_size=32, validation=0.2, compile=mode == "compiled" or "auto")
    assert captured.manifest["compile"] == mode
    np.testing.assert_allclose(captured.history["validation_elbo"], eager.history["validation_elbo"], rtol=1e-5)
    assert eager.history["validation_elbo"].min() > -8


@pytest.mark.slow
def test_a_run_remembers_its_covariates(tmp_path):
    x, c, site = data()
    found = fit(pair(), (x, c, site), out_dir=tmp_path / "run").manifest["data"]
    assert found["train_c_sha256"] == pv.data.fingerprint(c)
    assert found["train_site_sha256"] == pv.data.fingerprint(site)
    with pytest.raises(CheckpointError, match="train_c_sha256"):
        fit(pair(), (x, c + 1, site), epochs=4, out_dir=tmp_path / "run", resume=True)
    assert fit(pair(), (x, c, site), epochs=4, out_dir=tmp_path / "run", resume=True).epochs_run == 4


@pytest.mark.slow
def test_numbers_do_not_depend_on_where_passes_are_cut(monkeypatch):
    given = data()
    whole = pv.log_evidence(pair(), given, num_samples=64).per_datum
    cut = pv.log_evidence(pair(), given, num_samples=64, memory_limit=1).per_datum
    torch.testing.assert_close(whole, cut, rtol=0, atol=2e-4)
    monkeypatch.setattr(pv.inference.pair.evaluation, "CHUNK_NUMBERS", 10 * D)
    torch.testing.assert_close(pv.evaluate(pair(), given).log_likelihood.shape, torch.Size([N]))


def test_covariates_beside_indices():
    rows = torch.zeros(N)

    def model(x, c, site, indices):
        assert torch.equal(C[indices], c)
        rows[indices] += 1
        return inner(x, c, site)

    inner, guide = pair()
    assert pv.evaluate((model, guide), named(X, C, SITE)).elbo.isfinite().all()
    assert (rows >= 1).all()


def test_a_covariate_named_y_may_come_as_y():
    class Labelled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x, y):
            return self.inner(x, C[: len(x)], y)

    model, guide = map(Labelled, pair())
    expected = pv.evaluate((model, guide), (X, SITE)).elbo
    assert torch.equal(pv.evaluate((model, guide), X, y=SITE).elbo, expected)
    assert torch.equal(pv.evaluate((model, guide), {"x": X}, y=SITE).elbo, expected)
    assert torch.equal(pv.evaluate((model, guide), X[:, :], y=SITE.numpy()).elbo, expected)


def test_settings_with_defaults_are_no_covariates():
    """A number with a default is filled by name alone, so that no label of a loader lands in it."""

    def model(x, scale=1.0):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1).to_event(1))
            pyro.sample("x", dist.Normal(z.expand(-1, D), scale).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1).to_event(1))

    loader = DataLoader(TensorDataset(X, 100 * C.abs()), 40)
    pyro.clear_param_store()
    first = fit((model, guide), loader)
    pyro.clear_param_store()
    require_same(first, fit((model, guide), DataLoader(X, 40)))
    pyro.clear_param_store()


# Diagnostics -----------------------------------------------------------------------------------------------------


class Blind(nn.Module):
    """The exact posterior of a model whose c is not known but drawn anew, p(z | x, site): it ignores c."""

    def __init__(self, model):
        super().__init__()
        self.shift = model.shift

    def forward(self, x, c, site):
        # x - shift ~ N(z 1, I + s^2 1 1'), whose precision along 1 is D / (1 + D s^2).
        precision = D / (1 + D * SPREAD**2)
        mean = (x - self.shift[site]).mean(-1, keepdim=True) * precision / (1 + precision)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, (1 + precision) ** -0.5).to_event(1))


@pytest.mark.slow
def test_calibration_given_covariates_is_uniform_and_a_guide_that_ignores_one_is_found_out():
    model, guide = pair()
    given = data(2000)
    honest = diagnostics.run_calibration((model, guide), given, num_simulations=2000)
    assert diagnostics.check_calibration(honest).level == "good"
    for name, values in (("c", given[1]), ("site", given[2])):
        table = diagnostics.calibration_table(honest, values, name)
        p_values = table.drop(columns="simulations").to_numpy()
        assert p_values.min() * p_values.size > 0.01
        assert table["simulations"].sum() == 2000
    ignorant = diagnostics.run_calibration((model, Blind(model)), given, num_simulations=2000)
    # Over all c its ranks of z are uniform, as p(z|x)'s are; given c they are not, nor are those of log p(x|z).
    assert ignorant["p_value"].sel(quantity="z[0]") > 0.001
    assert ignorant["p_value"].sel(quantity="log p(x|z)") < 1e-6
    assert diagnostics.check_calibration(ignorant).level == "bad"
    assert diagnostics.calibration_table(ignorant, given[1], "c")["z[0]"].min() < 1e-6


def test_simulated_data_follow_the_law_given_their_covariates():
    given = data(50)
    simulated = diagnostics.simulate_posteriors(pair(), given, num_simulations=4000, num_samples=2)
    assert torch.equal(simulated.covariates[0], given[1].repeat(80))
    residual = (simulated.x - Model().mean(*simulated.covariates)).detach().double()
    # Mean 0, variance 2, covariance 1 of every two coordinates: within 5 standard errors of 4000 draws.
    assert residual.mean(0).abs().max() < 5 * (2 / 4000) ** 0.5
    covariance = residual.T.cov()
    assert (covariance - torch.ones(D, D) - torch.eye(D)).abs().max() < 5 * (8 / 4000) ** 0.5


def test_k_hat_is_tabled_by_covariate():
    given = data(200)
    numbers = diagnostics.run_importance(pair(), given, num_samples=50)
    wards = np.array(["north", "south"] * 100)
    table = diagnostics.khat_table(numbers, covariates={"c": given[1], "site": given[2], "ward": wards})
    assert table.loc["site"].index.tolist() == [0, 1, 2]
    assert table.loc["ward"]["data"].tolist() == [100, 100]
    assert table.loc["c"]["data"].tolist() == [20] * 10
    lowest = given[1].sort().values[:20]
    assert table.loc["c"].index[0] == f"{lowest[0]:.6g} to {lowest[-1]:.6g}"
    by_hand = numbers["elbo"].to_numpy()[given[2].numpy() == 1].mean()
    assert table.loc[("site", 1), "elbo"] == pytest.approx(by_hand)
    with pytest.raises(DataError, match=r"age: expected \[200\]"):
        diagnostics.khat_table(numbers, covariates={"age": given[1][:3]})


def test_data_without_a_value_have_a_group_of_their_own():
    groups = diagnostics.importance.khat_groups.groups_of(np.array([0.0, np.nan, 1.0, np.nan]), 4)
    assert {key: members.tolist() for key, members in groups.items()} == {0.0: [0], 1.0: [2], "missing": [1, 3]}


EXACT = {
    "run_gaps": lambda p, d: diagnostics.run_gaps(p, d, num_steps=20, num_samples=50)["mean_elbo"].values[0],
    "run_importance": lambda p, d: float(diagnostics.run_importance(p, d, num_samples=50)["log_evidence"].mean()),
    "run_evidence": lambda p, d: float(diagnostics.run_evidence(p, d, None, 1, 2, 10)["importance"].mean()),
    "evidence_curve": lambda p, d: float(pv.inference.evidence_curve(p, d, (1, 50)).importance[-1]),
    "inference_data": lambda p, d: float(pv.inference_data(p, d, 50).sample_stats["log_weight"].mean()),
}


@pytest.mark.slow
@pytest.mark.parametrize("measure", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("form", [tuple, named], ids=["by position", "by name"])
def test_diagnostics_weigh_by_the_density_given_covariates(measure, form):
    given = tuple(part[:12] for part in data())
    shaped = form(given) if form is tuple else form(*given)
    assert measure(pair(), shaped) == pytest.approx(float(log_density(*given).mean()), abs=2e-4)


def test_replicates_are_drawn_given_the_covariates():
    """Data and replicates agree although c moves the data by many times their spread; without it they would not."""
    numbers = diagnostics.run_predictive(pair(), data(), num_samples=200)
    assert diagnostics.check_predictive(numbers, "population").level == "good"
    x, c, site = data()
    wrong = diagnostics.run_predictive(pair(), (x, c.roll(1), site), {"spread": lambda x: x.std()}, 200)
    assert diagnostics.check_predictive(wrong, "local").level == "bad"


def test_the_aggregate_posterior_runs_over_data_and_their_covariates():
    numbers = diagnostics.run_collapse(pair(), data(300))
    average, parts = float(numbers["average_kl"]), float(numbers["mutual_information"] + numbers["marginal_kl"])
    assert average == pytest.approx(parts, abs=1e-6)
    # E KL(q || p) of the exact posterior: log sqrt(D + 1) where E mean^2 + sd^2 = 1.
    assert abs(average - 0.5 * np.log(D + 1)) < 5 * float(numbers["average_kl_stderr"]) + 1e-3


@pytest.mark.slow
def test_nuts_draws_from_the_posterior_given_covariates():
    x, c, site = (part[:1] for part in data())
    numbers = diagnostics.run_reference(pair(), (x, c, site), 300, 100, 2)
    mean = float((x - Model().mean(c, site)).detach().sum() / (D + 1))
    error = (1 / (D + 1) / float(numbers["ess"][0])) ** 0.5
    assert abs(float(numbers["z"].mean()) - mean) < 5 * error


@pytest.mark.slow
def test_a_bracket_given_covariates_holds():
    few = tuple(part[:3] for part in data())
    bracket = pv.inference.bidirectional_evidence(pair(), few, 8, num_temperatures=60)
    exact = log_density(bracket.x, *few[1:])
    assert ((bracket.lower - exact) < 5 * bracket.lower_stderr + 0.1).all()
    assert ((bracket.upper - exact) > -5 * bracket.upper_stderr - 0.1).all()


def test_estimators_are_compared_given_covariates():
    given = tuple(part[:10] for part in data())
    table = pv.compare_estimators(pair(), named(*given), ["monte-carlo-kl", "iwae"], 20, progress=False)
    exact = float(log_density(*given).mean())
    np.testing.assert_allclose(table["value"], exact, atol=2e-4)


@pytest.mark.slow
def test_diagnose_takes_covariates_and_tables_them():
    given = data()
    topics = ["importance", "calibration", "collapse", "gaps"]
    effort = diagnostics.Effort(
        num_data=60, num_samples=100, num_simulations=200, num_draws=49, gap_data=4, gap_steps=20
    )
    found = pv.diagnose(pair(), named(*given), x_train=given, effort=effort, topics=topics)
    assert list(found.numbers) == topics
    assert found.numbers["importance"]["exact"].all()
    np.testing.assert_array_equal(found.covariates["site"], given[2][torch.from_numpy(found.chosen)])
    rows = diagnostics.topics.tables.importance(found.numbers["importance"], found).rows
    assert sum(row[0].startswith("c ") for row in rows) == 10
    assert {"site 0", "site 1", "site 2"} <= {row[0] for row in rows}
    assert found.inference_data is not None


def test_covariates_of_a_frame_may_have_any_number_type():
    """Bytes as an index would be a mask: small integers become int64."""
    x, c, site = data()
    frame = pd.DataFrame({"c": c.numpy(), "site": site.numpy().astype(np.uint8)}, index=range(5, N + 5))
    found = pv.evaluate(pair(), {"x": x, "c": frame["c"], "site": frame["site"]}).elbo
    assert torch.equal(found, pv.evaluate(pair(), (x, c, site)).elbo)


def test_arrays_whose_rows_are_by_name_another_dimension_of_x_are_refused():
    """x [gene, cell] beside a covariate of cells was taken row by row where there are as many genes."""

    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] + c[:, None] * torch.ones(4), 1.0).to_event(1), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), 1.0))

    counts, c = np.arange(16.0).reshape(4, 4), xr.DataArray(np.arange(4.0), dims="cell")
    turned = xr.DataArray(counts.T, dims=("gene", "cell"))
    for data in (xr.Dataset({"x": turned, "c": c}), (turned, c), {"x": turned, "c": c}):
        with pytest.raises(DataError, match="c: its rows run along 'cell', those of x along 'gene'"):
            pv.evaluate((model, guide), data)
    right = pv.evaluate((model, guide), xr.Dataset({"x": turned.transpose("cell", "gene"), "c": c})).elbo
    assert torch.equal(right, pv.evaluate((model, guide), (counts, np.arange(4.0))).elbo)
