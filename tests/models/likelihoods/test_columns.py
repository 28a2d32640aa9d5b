"""Tables of columns of different kinds: nats in units of the data, missing cells, frames in and out."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize, special, stats
from sklearn import datasets

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ConvergenceError, DataError, ModelError
from ppl_vae.models import Columns, ordinal
from ppl_vae.models.likelihoods.frames import kinds_of

KINDS = {
    "age": "gaussian",
    "smoker": "bernoulli",
    "stage": ordinal(["I", "II", "III"]),
    "cells": "negative-binomial",
}
KINDS |= {"income": "log-normal", "weight": {"name": "student-t", "df": 4.0}, "dose": {"name": "censored-gaussian"}}


def patients(n=60, seed=0):
    random = np.random.default_rng(seed)
    z = random.normal(size=n)
    stage = np.digitize(z + random.normal(size=n), [-0.5, 0.5])
    return pd.DataFrame(
        {
            "age": 1e6 + 12 * z + random.normal(size=n),
            "smoker": z + random.logistic(size=n) > 0,
            "stage": pd.Categorical.from_codes(stage, ["I", "II", "III"], ordered=True),
            "cells": random.poisson(np.exp(3 + z)),
            "income": np.exp(10 + z + 0.1 * random.normal(size=n)),
            "weight": 70 + 10 * random.standard_t(4, size=n),
            "dose": np.maximum(0.0, 5 * z + random.normal(size=n)),
        }
    )


def table_vae(standardize=True, seed=0):
    return pv.VAE((7,), 2, network="linear", likelihood=Columns(KINDS, standardize), seed=seed).double()


def test_nats_after_standardising_are_those_of_the_raw_model_by_change_of_variables():
    frame = patients()
    scaled, raw = table_vae(), table_vae(standardize=False)
    x = scaled.model.likelihood.coded(frame)
    for vae in (scaled, raw):
        vae.model.likelihood.look_at(x)
    raw.load_state_dict(scaled.state_dict())
    scales = scaled.model.likelihood.scales
    loc, scale = scales.loc.clone(), scales.scale.clone()
    raw.model.likelihood.scales.loc.zero_()
    raw.model.likelihood.scales.scale.fill_(1.0)
    # The same table in the units of the model, of which the raw one is a density.
    own, jacobian = x.clone(), torch.zeros(len(x), dtype=torch.float64)
    for place in (0, 5):
        own[:, place] = (x[:, place] - loc[place]) / scale[place]
        jacobian -= scale[place].log()
    own[:, 4] = ((x[:, 4].log() - loc[4]) / scale[4]).exp()
    jacobian += own[:, 4].log() - scale[4].log() - x[:, 4].log()
    own[:, 6] = (x[:, 6] - loc[6]) / scale[6]
    raw.model.likelihood.part_of(6).limits = (-loc[6].item() / scale[6].item(), None)
    # A value at the limit has a mass, which knows no Jacobian.
    jacobian -= scale[6].log() * (x[:, 6] > 0)
    z = torch.randn(len(x), 2, dtype=torch.float64)
    found, expected = scaled.decode(z).log_prob(x), raw.decode(z).log_prob(own) + jacobian
    assert (found - expected).abs().max() < 1e-6
    assert scale[0] > 5


def test_each_column_has_the_density_of_its_kind():
    x = torch.tensor([[3.0, 1.0, 2.0, 7.0, 40.0, 71.0, 0.0]], dtype=torch.float64)
    vae = table_vae(standardize=False)
    part, features = vae.model.likelihood, torch.full((1, 1, 7), 0.5, dtype=torch.float64)
    each = [part(features, 1).log_prob(_only(x, place)).item() for place in range(7)]
    cuts = special.logit([1 / 3, 2 / 3])
    r, mean = 1.0, np.exp(0.5)
    expected = [
        stats.norm(0.5, 1).logpdf(3),
        special.log_expit(0.5),
        np.log(1 - special.expit(cuts[1] - 0.5)),
        stats.nbinom(r, r / (r + mean)).logpmf(7),
        stats.lognorm(1, scale=np.exp(0.5)).logpdf(40),
        stats.t(4.0, 0.5, 1).logpdf(71),
        stats.norm(0.5, 1).logcdf(0),
    ]
    assert each == pytest.approx(expected, rel=1e-6)
    assert part(features, 1).log_prob(x).item() == pytest.approx(sum(expected), rel=1e-6)


def _only(x, place):
    alone = torch.full_like(x, torch.nan)
    alone[:, place] = x[:, place]
    return alone


def test_missing_cells_are_integrated_out_and_leave_no_nan_in_a_gradient():
    frame = patients()
    holes = frame.astype(object).mask(np.random.default_rng(1).random(frame.shape) < 0.3)
    holes.iloc[0] = None
    vae = table_vae()
    result = pv.fit(vae, holes, epochs=2, progress=False)
    assert np.isfinite(result.history["train_elbo"]).all()
    assert all(p.isfinite().all() for p in vae.parameters())
    nothing = vae.decode(torch.randn(1, 2, dtype=torch.float64)).log_prob(torch.full((1, 7), torch.nan))
    assert nothing.item() == 0


def test_the_first_constant_decoder_is_the_marginal_model_of_the_training_data():
    """So that a fit begins at what columns are by themselves: Gaussian, coin, shares, log-normal."""
    frame = patients(400)[["age", "smoker", "stage", "income"]]
    vae = pv.VAE((4,), 1, network="linear", likelihood=Columns({name: KINDS[name] for name in frame}))
    x = vae.model.likelihood.coded(frame)
    vae.start_untrained(x.float())
    with torch.no_grad():
        for parameter in [p for p in vae.model.decoder.parameters() if p.dim() == 2]:
            parameter.zero_()
    found = vae.double().decode(torch.zeros(len(x), 1)).log_prob(x).mean().item()
    age, log_income = frame["age"], np.log(frame["income"])
    shares = frame["stage"].value_counts(normalize=True)
    coin = frame["smoker"].mean()
    expected = stats.norm(age.mean(), age.std(ddof=0)).logpdf(age).mean()
    expected += stats.norm(log_income.mean(), log_income.std(ddof=0)).logpdf(log_income).mean() - log_income.mean()
    expected += coin * np.log(coin) + (1 - coin) * np.log1p(-coin) + (shares * np.log(shares)).sum()
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_a_censored_column_begins_at_its_maximum_likelihood():
    """Against scipy's tails and another optimiser; censored moments would say 0.4 and 0.6 of N(0, 1) above 0."""
    drawn, limits = np.random.default_rng(0).normal(size=500), (0.0, 1.2)
    for low, high in ((limits[0], None), (None, limits[1]), limits):
        x = np.clip(drawn, -np.inf if low is None else low, np.inf if high is None else high)
        x = np.append(x, np.nan)
        kind = {"name": "censored-gaussian", "low": low, "high": high}
        vae = pv.VAE((1,), 1, network="linear", likelihood=Columns({"dose": kind})).double()
        vae.start_untrained(torch.tensor(x)[:, None])

        def loss(point, x=x[:-1], low=low, high=high):
            normal = stats.norm(point[0], np.exp(point[1]))
            value = normal.logpdf(x)
            value = value if low is None else np.where(x <= low, normal.logcdf(low), value)
            return -(value if high is None else np.where(x >= high, normal.logsf(high), value)).sum()

        best = optimize.minimize(loss, (0.1, 0.1), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
        scales = vae.model.likelihood.scales
        found = scales.loc.item(), scales.scale.item()
        assert found == pytest.approx((best.x[0], np.exp(best.x[1])), rel=1e-5, abs=1e-6)
        assert found == pytest.approx((0.0, 1.0), abs=0.2)


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [np.nan] * 3, [2.0, 3.0, 4.0], [0.0, 0.0, 5.0]])
def test_a_censored_column_without_a_maximum_begins_at_its_moments(values):
    vae = pv.VAE((1,), 1, network="linear", likelihood=Columns({"dose": "censored-gaussian"})).double()
    vae.model.likelihood.look_at(torch.tensor(values, dtype=torch.float64)[:, None])
    scales = vae.model.likelihood.scales
    if min(values) == 2:
        assert (scales.loc.item(), scales.scale.item()) == pytest.approx((3.0, np.sqrt(2 / 3)))
    elif max(values) == 5:
        # One value between the limits: loc + scale u = 5 with a third of the mass above 0, in no moments.
        assert scales.loc.item() < 0 < scales.scale.item() < 20
    else:
        assert (scales.loc.item(), scales.scale.item()) == (0.0, 1.0)


@pytest.mark.parametrize("df", [1.5, 4.0])
def test_a_heavy_tailed_column_begins_at_its_scale_not_at_its_standard_deviation(df):
    x = 70 + 10 * stats.t(df).rvs(4000, random_state=0)
    likelihood = Columns({"weight": {"name": "student-t", "df": df}})
    likelihood.look_at(torch.tensor(np.append(x, np.nan))[:, None])
    # The quartile's standard error is sqrt(3) / (4 f(q) sqrt N), f the density of t: below 0.35 of the scale 10.
    assert likelihood.scales.loc.item() == pytest.approx(70, abs=1.4)
    assert likelihood.scales.scale.item() == pytest.approx(10, abs=1.4)


@pytest.mark.parametrize("values", [[np.nan] * 5, [1.0, 1.0, 1.0, 1.0, 5.0], [1.0] * 5])
def test_a_column_of_few_values_has_no_quartiles(values):
    likelihood = Columns({"weight": "student-t"})
    likelihood.look_at(torch.tensor(values)[:, None])
    # A column that never changes is taken from its value.
    moments = {5.0: (1.8, 1.6), 1.0: (1.0, 1.0)}.get(values[-1], (0.0, 1.0))
    assert (likelihood.scales.loc.item(), likelihood.scales.scale.item()) == pytest.approx(moments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 2020.0, 1e6 + 0.1])
def test_a_column_that_never_changes_moves_no_other_and_has_no_spread_of_rounding(value, dtype):
    """Change of variables: adding a constant to a column changes no density.

    In double precision the spread of 0.1 was 3e-17, the rounding of its mean, and its density 38 nats too large; of
    2020 the encoder saw 2020, and the other columns' fit was lost.
    """
    other = torch.randn(1000, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x = torch.stack([torch.full_like(other, value), other], -1)
    found = []
    for data in (x, torch.stack([torch.zeros_like(other), other], -1)):
        kinds = Columns({"year": "gaussian", "b": "gaussian"})
        vae = pv.VAE((2,), 1, likelihood=kinds, seed=0).to(dtype=dtype)
        kinds.look_at(data)
        assert (kinds.scales.loc[0], kinds.scales.scale[0]) == (data[0, 0], 1)
        found.append(pv.evaluate(vae, data).elbo)
    torch.testing.assert_close(found[0], found[1])


def test_a_positive_column_that_never_changes_has_its_jacobian():
    """log p(x) = log p(log x) - log x: at 5 it is log 5 below that at 1."""
    found = []
    for value in (5.0, 1.0):
        kinds = Columns({"dose": "log-normal"})
        vae = pv.VAE((1,), 1, likelihood=kinds, seed=0)
        x = torch.full((50, 1), value)
        kinds.look_at(x)
        found.append(pv.evaluate(vae, x).elbo.mean().item())
    assert found[0] - found[1] == pytest.approx(-np.log(5), abs=1e-5)


@pytest.mark.slow
def test_a_frame_is_read_by_its_names_and_comes_back_with_them(tmp_path):
    frame = patients(100)
    vae = table_vae()
    pv.fit(vae, frame, epochs=1, progress=False)
    told = pv.evaluate(vae, frame).summary()
    assert pv.evaluate(vae, frame[list(reversed(frame.columns))]).summary() == told
    assert pv.evaluate(vae, vae.model.likelihood.coded(frame)).summary() == told
    vae.save(tmp_path)
    loaded = pv.load(tmp_path)
    assert pv.evaluate(loaded, frame).summary() == told
    drawn = pv.sample(loaded, 50, seed=3)
    assert drawn.columns.tolist() == list(KINDS)
    assert set(drawn["stage"]) <= {"I", "II", "III"}
    assert drawn["cells"].dtype == np.int64
    assert (drawn["income"] > 0).all()
    assert drawn.equals(pv.sample(loaded, 50, seed=3))
    vae.model.likelihood.check(vae.model.likelihood.coded(drawn))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="age"), "found no column 'age'"),
        (lambda f: f.assign(shoe=1), "found column 'shoe', which the model does not know"),
        (lambda f: f.assign(stage="IV"), "column 'stage': unknown level 'IV'; its levels are 'I', 'II', 'III'"),
        (lambda f: f.assign(income=-1.0), "column 'income': likelihood 'log-normal' needs data above 0"),
        (lambda f: f.assign(smoker=0.5), "column 'smoker': likelihood 'bernoulli' needs binary data"),
        (lambda f: f.assign(age="old"), "column 'age'"),
    ],
)
def test_what_is_wrong_with_a_frame_names_the_column(change, message):
    with pytest.raises(DataError, match=message):
        pv.fit(table_vae(), change(patients()), epochs=1, progress=False)


def test_a_category_with_a_missing_cell_comes_back_in_words():
    frame = pd.DataFrame({"city": pd.Categorical(["Oslo", None, "Rome"])})
    columns = Columns({choice.column: choice.kind for choice in kinds_of(frame)})
    pd.testing.assert_frame_equal(columns.frame(columns.coded(frame)), frame)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({}, "needs the kinds of its columns"),
        ({"age": "gausian"}, "column 'age': unknown likelihood 'gausian'"),
        ({"age": {"name": "missing-pixels", "of": "gaussian"}}, "column 'age': 'missing-pixels' is no kind"),
        ([("age", "gaussian"), ("age", "poisson")], "column 'age' is there twice"),
        ({"stage": {"name": "ordinal", "levels": ["I", "I"]}}, "each named once"),
    ],
)
def test_what_is_no_kind_is_refused(kinds, message):
    with pytest.raises(ModelError, match=message):
        Columns(kinds)


def test_the_shape_of_a_datum_is_the_number_of_columns():
    with pytest.raises(ModelError, match="has 7 columns, but event_shape is \\(3,\\)"):
        pv.VAE((3,), 2, likelihood=Columns(KINDS))


def test_kinds_are_inferred_from_dtypes_and_told():
    frame = patients(300).assign(city=["bern", "rome"] * 150, year=2000 + np.arange(300) % 3, gone=[1, None] * 150)
    frame = frame.astype({"city": "category", "gone": "Int64"})
    lines = []
    columns = Columns.from_frame(frame, report=lines.append)
    kinds = {name: spec["name"] for name, spec in columns.config["kinds"]}
    assert kinds == {
        "age": "gaussian",
        "smoker": "bernoulli",
        "stage": "ordinal",
        "cells": "negative-binomial",
        "income": "log-normal",
        "weight": kinds["weight"],
        "dose": "gaussian",
        "city": "nominal",
        "year": kinds["year"],
        "gone": "gaussian",
    }
    # Whole numbers that vary less than a Poisson's are no counts.
    assert kinds["year"] != "negative-binomial"
    assert [line.split()[0] for line in lines] == list(frame.columns)
    assert "booleans" in lines[1]
    with pytest.raises(DataError, match="column 'when' of dtype"):
        Columns.from_frame(frame.assign(when=pd.Timestamp("2020-01-01")), report=None)


def test_a_frame_of_polars_has_the_same_kinds_and_numbers():
    polars = pytest.importorskip("polars")
    frame = patients()
    other = polars.DataFrame({name: frame[name].astype(object).tolist() for name in frame})
    columns = Columns(KINDS)
    assert torch.equal(columns.coded(other), columns.coded(frame))


def test_scales_are_taken_once_and_a_model_goes_on_with_them():
    frame, vae = patients(), table_vae()
    pv.fit(vae, frame, epochs=1, progress=False)
    before = vae.model.likelihood.scales.scale.clone()
    pv.fit(vae, frame.assign(age=frame["age"] * 2), epochs=1, progress=False)
    assert torch.equal(vae.model.likelihood.scales.scale, before)


@pytest.mark.slow
def test_captured_steps_are_the_programs():
    frame = patients(128)
    histories = [
        pv.fit(table_vae(), frame, epochs=3, batch_size=64, compile=way, progress=False).history["train_elbo"]
        for way in (False, True)
    ]
    assert histories[1].to_numpy() == pytest.approx(histories[0].to_numpy(), rel=1e-6)


def test_a_step_that_is_not_finite_names_the_columns_and_the_remedy():
    frame = pd.DataFrame({"a": np.linspace(0, 1, 64), "income": np.linspace(1e18, 2e19, 64)})
    vae = pv.VAE((2,), 1, likelihood={"name": "gaussian", "sigma": 1e-3})
    with pytest.raises(ConvergenceError, match=r"columns \('income' to .*Columns.from_frame"):
        pv.fit(vae, frame, epochs=20, lr=1.0, progress=False)


@pytest.mark.slow
def test_predictive_checks_of_a_table_look_at_each_column():
    frame, vae = patients(), table_vae()
    pv.fit(vae, frame, epochs=1, progress=False)
    table = pv.diagnostics.run_predictive(vae, frame, num_samples=20)
    assert "mean of income" in table["statistic"].values
    observed = table["observed"].sel(statistic="mean of age").item()
    assert observed == pytest.approx(frame["age"].mean())


@pytest.mark.slow
def test_missing_cells_are_imputed_in_the_units_of_their_column():
    frame, vae = patients(30), table_vae()
    pv.fit(vae, frame, epochs=1, progress=False)
    x = vae.model.likelihood.coded(frame)
    x[:3, 0], x[3:5, 2] = torch.nan, torch.nan
    completed = pv.impute(vae, x[:6], 20, progress=False)["posterior_predictive"]["x"].to_numpy()[0]
    assert np.isfinite(completed).all()
    assert abs(completed[:, :3, 0] - 1e6).max() < 200
    assert set(np.unique(completed[:, 3:5, 2])) <= {0.0, 1.0, 2.0}


def test_gradients_reach_every_parameter_of_every_kind():
    vae = table_vae()
    x = vae.model.likelihood.coded(patients())
    vae.start_untrained(x)
    inf.MonteCarloKL(2).loss_and_grads(vae.model, vae.guide, x)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.model.likelihood.parameters())


def best_constant(columns, train, test):
    """log p of held-out rows [N] under the best decoder that sees no z: a model of each column by itself."""
    part = Columns.from_frame(columns, report=None)
    x, held_out = part.coded(train).float(), part.coded(test).float()
    part.look_at(x)
    features = torch.nn.Parameter(part.start(x).unsqueeze(0))
    optimizer = torch.optim.Adam([features, *part.parameters()], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        (-part(features, 1).log_prob(x).mean()).backward()
        optimizer.step()
    return part(features, 1).log_prob(held_out).detach()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wine", "breast cancer", "generated"])
def test_a_first_fit_without_settings_beats_a_model_of_each_column_by_itself(name):
    loaders = {"wine": datasets.load_wine, "breast cancer": datasets.load_breast_cancer}
    frame = loaders[name](as_frame=True).data if name in loaders else patients(1000)
    order = np.random.default_rng(1).permutation(len(frame))
    test, train = (frame.iloc[rows].reset_index(drop=True) for rows in np.split(order, [len(frame) // 5]))
    vae = pv.VAE((frame.shape[1],), 2, likelihood=Columns.from_frame(frame, report=None))
    pv.fit(vae, train, progress=False)
    found = pv.log_evidence(vae, test, num_samples=300, progress=False).per_datum
    gain = torch.as_tensor(found).double() - best_constant(frame, train, test).double()
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5


def test_levels_that_are_numbers_are_known_in_every_type():
    """Categories 1 and 2 were unknown in a column that a missing cell made one of floats, and the reverse."""
    column = pd.Series([1, 2, 2])
    for trained in (column, column.astype(float)):
        kinds = Columns.from_frame(trained.astype("category").to_frame("stage"), report=None)
        for later in (column, column.astype(float), column.astype(float).where([True, True, False])):
            expected = [0, 1, np.nan if later.isna().any() else 1]
            np.testing.assert_array_equal(kinds.coded(later.to_frame("stage"))[:, 0], expected)
    with pytest.raises(DataError, match=r"unknown level '1.5'"):
        kinds.coded(pd.DataFrame({"stage": [1.5]}))
