"""``diagnose``: what its groups hold, how they keep to their limits, and that either ArviZ reads them."""

import importlib
import math
import warnings

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics.arviz import container as inference_data
from ppl_vae.diagnostics.arviz.container import CLASSIC, TREE
from ppl_vae.diagnostics.arviz.for_figures import for_plot_khat
from ppl_vae.errors import DataError, ModelError
from tests.diagnostics.arviz.generations import both_generations, needs_classic, needs_tree
from tests.scenarios import draw_data, linear_gaussian


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits", binarize="dynamic")


@pytest.fixture(scope="module")
def vae():
    return pv.VAE((1, 8, 8), 3, network={"name": "mlp", "hidden": [16]}, seed=0).eval()


@pytest.fixture(scope="module")
def drawn(vae, digits):
    """40 digits, 60 draws, 20 replicates."""
    test = digits.test
    return pv.inference_data(
        vae, test.x[:40], 60, test.y[:40], num_predictive=20, seed=3, data_name="digits", binarization="dynamic"
    )


def groups(data):
    return inference_data.groups_of(data)


def test_every_group_has_its_dimensions(drawn):
    found = {name: {v: dict(group[v].sizes) for v in group.data_vars} for name, group in groups(drawn).items()}
    sample, pixels = {"chain": 1, "draw": 60, "datum": 40}, {"pixel_channel": 1, "pixel_row": 8, "pixel_column": 8}
    assert found["posterior"] == {"z": {**sample, "latent": 3}}
    assert found["prior"] == {"z": {**sample, "draw": 20, "latent": 3}}
    assert found["posterior_predictive"] == {"x": {**sample, "draw": 20, **pixels}}
    assert found["log_likelihood"] == {"x": sample}
    assert found["observed_data"] == {"x": {"datum": 40, **pixels}}
    datum = {"datum": 40}
    assert found["sample_stats"] == {"log_weight": sample, "khat": datum, "exact": datum, "ess": datum}


def test_the_data_and_their_labels_are_kept(drawn, digits):
    observed = groups(drawn)["observed_data"]
    np.testing.assert_array_equal(observed["x"], digits.test.x[:40])
    for group in groups(drawn).values():
        np.testing.assert_array_equal(group["label"], digits.test.y[:40])


def test_attributes_say_where_the_numbers_come_from(drawn):
    about = drawn.attrs
    assert about["created_with"].startswith("ppl_vae ")
    assert {k: about[k] for k in ("seed", "num_samples", "data", "binarization", "likelihood")} == {
        "seed": 3, "num_samples": 60, "data": "digits", "binarization": "dynamic", "likelihood": "bernoulli"
    }  # fmt: skip
    note = groups(drawn)["log_likelihood"].attrs["note"]
    assert "loo" in note
    assert "log_evidence" in note


def test_densities_are_those_of_the_draws(drawn, vae, digits):
    posterior = torch.as_tensor(groups(drawn)["posterior"]["z"].to_numpy())[0]
    x = digits.test.x[:40]
    q, p = vae.encode(x), vae.decode(posterior)
    log_likelihood = p.log_prob(x)
    expected = log_likelihood + vae.model.prior().log_prob(posterior) - q.log_prob(posterior)
    np.testing.assert_allclose(groups(drawn)["log_likelihood"]["x"][0], log_likelihood.detach(), rtol=1e-5)
    np.testing.assert_allclose(
        groups(drawn)["sample_stats"]["log_weight"][0], expected.detach(), rtol=1e-5, atol=1e-4
    )


def test_replicates_follow_the_likelihood_of_their_draws():
    """x_rep - W z - b is noise of the model's sigma: its mean and variance over 48000 coordinates, 4 errors."""
    lg = linear_gaussian()
    x = draw_data(lg, 12)
    found = groups(pv.inference_data(lg, x, 800, num_predictive=800))
    z = torch.as_tensor(found["posterior"]["z"].to_numpy())
    noise = torch.as_tensor(found["posterior_predictive"]["x"].to_numpy()) - (z @ lg.weight.mT + lg.bias).detach()
    assert abs(noise.mean()) < 4 * lg.sigma / math.sqrt(noise.numel())
    assert abs(noise.var() / lg.sigma**2 - 1) < 4 * math.sqrt(2 / noise.numel())


def test_the_two_kinds_of_draw_have_the_moments_of_prior_and_guide():
    """Means within 4 standard errors, the largest of 36."""
    lg = linear_gaussian()
    x = draw_data(lg, 12)
    found = groups(pv.inference_data(lg, x, 800, num_predictive=800))
    q = lg.encode(x)
    for group, mean, sd in (("posterior", q.mean, q.stddev), ("prior", 0.0, 1.0)):
        z = torch.as_tensor(found[group]["z"].to_numpy())[0]
        assert ((z.mean(0) - mean).abs() / (sd / math.sqrt(800))).max() < 4


def test_the_exact_posterior_has_equal_weights_and_no_tail():
    lg = linear_gaussian(guide="exact")
    statistics = groups(pv.inference_data(lg, draw_data(lg, 20), 200))["sample_stats"]
    assert (statistics["exact"] == 1).all()
    assert statistics["khat"].isnull().all()
    np.testing.assert_allclose(statistics["ess"], 200, rtol=1e-6)


def test_equal_weights_of_many_draws_are_told_as_equal():
    """numpy's sum over 4000 draws rounds by 4e-13: weights that differ by 1e-14 had a tail, and a k-hat of -1.8."""
    lg = linear_gaussian(guide="exact")
    x = draw_data(lg, 6) + 1.0
    statistics = pv.inference_data(lg, x, num_samples=4000, num_predictive=1)["sample_stats"]
    assert (statistics["exact"] == 1).all()
    assert statistics["khat"].isnull().all()


def test_khat_is_that_of_psislw(drawn):
    statistics = groups(drawn)["sample_stats"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arviz = pytest.importorskip("arviz", minversion="0.18")
    if not hasattr(arviz, "psislw"):
        pytest.skip("ArviZ 1.x has no psislw")
    _, expected = arviz.psislw(statistics["log_weight"][0].to_numpy().T)
    np.testing.assert_allclose(statistics["khat"], expected, rtol=1e-6)


def chain_model(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a.unsqueeze(-1), 1.0).expand([*a.shape, 2]).to_event(1))
        pyro.sample("y", dist.Normal(b, 1.0).to_event(1), obs=x)


def chain_guide(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(x.mean(-1) / 2, 0.8))
        pyro.sample("b", dist.Normal((x + a.unsqueeze(-1)) / 2, 0.7).to_event(1))


def test_a_pair_with_several_sites_names_its_dimensions_after_them():
    x = torch.randn(5, 2)
    found = groups(pv.inference_data((chain_model, chain_guide), x, 30, num_predictive=10))
    assert found["posterior"]["a"].dims == ("chain", "draw", "datum")
    assert found["posterior"]["b"].dims == ("chain", "draw", "datum", "b_latent")
    assert found["posterior_predictive"]["y"].dims == ("chain", "draw", "datum", "pixel")
    # b given a in the prior: correlation 1 / sqrt(2) of drawn pairs, not of the guide's.
    prior = found["prior"]
    assert (prior["b"] - prior["a"]).to_numpy().std() == pytest.approx(1.0, abs=4 / math.sqrt(2 * 100))


def test_a_discrete_site_is_drawn_as_any_other():
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(3.0 * k, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Bernoulli(torch.sigmoid(3.0 * x - 4.5)))

    found = groups(pv.inference_data((model, guide), torch.tensor([-1.0, 1.5, 4.0]), 400))
    assert set(np.unique(found["posterior"]["k"])) == {0.0, 1.0}
    # The guide is exact: every weight is log p(x).
    assert (found["sample_stats"]["exact"] == 1).all()


def test_without_draws_of_its_kind_there_is_no_predictive_group(digits):
    grey = pv.load_dataset("digits").test.x[:6]
    vae = pv.VAE((1, 8, 8), 2, likelihood="bernoulli-relaxed", seed=0)
    drawn = pv.inference_data(vae, grey, 30)
    assert "posterior_predictive" not in groups(drawn)
    assert "expected data that the model can draw" in drawn.attrs["why_no_posterior_predictive"]
    assert {"posterior", "prior", "log_likelihood", "sample_stats"} <= set(groups(drawn))


def test_how_passes_are_cut_does_not_show_in_the_shapes(vae, digits, monkeypatch):
    module = importlib.import_module("ppl_vae.diagnostics.arviz.inference_data")
    monkeypatch.setattr(module, "pass_size", lambda x, num_samples: (7, 13))
    found = groups(pv.inference_data(vae, digits.test.x[:20], 50, num_predictive=20))
    assert found["posterior"]["z"].shape == (1, 50, 20, 3)
    assert np.isfinite(found["sample_stats"]["log_weight"]).all()
    x, z = found["posterior_predictive"]["x"], found["posterior"]["z"].isel(draw=slice(20))
    p = vae.decode(torch.as_tensor(z.to_numpy())).log_prob(torch.as_tensor(x.to_numpy()))
    assert p.isfinite().all()


def test_one_seed_gives_one_result_and_leaves_the_generators(vae, digits):
    before = torch.get_rng_state()
    first, again, other = (groups(pv.inference_data(vae, digits.test.x[:4], 30, seed=s)) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for name, group in first.items():
        assert group.equals(again[name])
    assert not first["posterior"].equals(other["posterior"])


@pytest.mark.slow
def test_the_memory_limit_settles_what_is_left_open(vae, digits):
    x = digits.test.x[:100]
    small = pv.inference_data(vae, x, memory_limit=1 << 20)
    assert sum(group.nbytes for group in groups(small).values()) < 1.1 * (1 << 20)
    assert 2 <= small.attrs["num_samples"] < 1000
    assert pv.inference_data(vae, x).attrs["num_samples"] == 1000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"num_samples": 5000, "memory_limit": 1 << 20},
            ModelError,
            r"num_samples=5000 .* allows 1 MiB: at most \d+",
        ),
        ({"num_samples": 1}, ModelError, "num_samples must be an integer of at least 2, got 1"),
        ({"num_samples": 20, "num_predictive": 30}, ModelError, "num_predictive=30 is more than num_samples=20"),
        ({"memory_limit": 1000}, ModelError, "at most 0 draws"),
        ({"y": [1, 2]}, DataError, r"y: expected a label per datum, shape \[100\], found \[2\]"),
    ],
)
def test_what_does_not_fit_is_refused(vae, digits, arguments, error, message):
    with pytest.raises(error, match=message):
        pv.inference_data(vae, digits.test.x[:100], **arguments)


@pytest.mark.slow
def test_a_file_holds_it(drawn, tmp_path):
    inference_data.write_netcdf(drawn, tmp_path / "draws.nc")
    back = inference_data.read_netcdf(tmp_path / "draws.nc")
    for name, group in groups(back).items():
        assert group.equals(groups(drawn)[name])
    assert dict(back.attrs)["likelihood"] == "bernoulli"


@pytest.fixture
def quiet():
    """What ArviZ and matplotlib say of each other is not ours; its colours in a form that both know."""
    import matplotlib as mpl
    from cycler import cycler

    with warnings.catch_warnings(), mpl.rc_context({"axes.prop_cycle": cycler(color=["#332288", "#ddaa33"])}):
        warnings.simplefilter("ignore")
        mpl.use("agg")
        yield
        import matplotlib.pyplot as plt

        plt.close("all")


@pytest.fixture(scope="module")
def grown(vae, digits):
    """Enough draws for kernel densities."""
    return pv.inference_data(vae, digits.test.x[:20], 200, digits.test.y[:20], num_predictive=40)


ONE = {"datum": [0], "latent": [0, 1]}


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("plot_trace", {"var_names": "z", "coords": ONE}),
        ("plot_pair", {"var_names": "z", "coords": ONE}),
        ("plot_ppc", {"num_pp_samples": 5}),
        ("plot_dist_comparison", {"var_names": "z", "coords": {"datum": [0], "latent": [0]}}),
    ],
)
@needs_classic
@pytest.mark.usefixtures("quiet")
def test_the_plots_of_arviz_0(grown, function, arguments):
    arviz = pytest.importorskip("arviz")
    data = inference_data.build(groups(grown), {}, generation=CLASSIC)
    axes = np.atleast_1d(getattr(arviz, function)(data, **arguments)).ravel()
    assert all(panel.has_data() for panel in axes[:1])


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("plot_trace", {"var_names": "z", "coords": ONE}),
        # One datum as a number: with two dimensions arviz_plots 0.8 depends on the order of a set.
        ("plot_pair", {"var_names": "z", "coords": {"datum": 0, "latent": [0, 1]}}),
        ("plot_ppc_dist", {"num_samples": 5}),
        ("plot_prior_posterior", {"var_names": "z", "coords": {"datum": [0], "latent": [0]}}),
    ],
)
@needs_tree
@pytest.mark.usefixtures("quiet")
def test_the_plots_of_arviz_1(grown, function, arguments):
    inference_data.quiet_import("arviz_base")
    arviz_plots = inference_data.quiet_import("arviz_plots")
    data = inference_data.build(groups(grown), {}, generation=TREE)
    drawn = getattr(arviz_plots, function)(data, **arguments)
    assert drawn.viz["figure"] is not None


@both_generations
@pytest.mark.usefixtures("quiet")
def test_summary_and_khat_of_either_generation(grown, generation):
    package = inference_data.quiet_import(generation.statistics)
    data = inference_data.build(groups(grown), {}, generation=generation)
    table = package.summary(data, var_names="z", coords={"datum": [0]})
    expected = groups(grown)["posterior"]["z"].isel(datum=0).mean(("chain", "draw"))
    np.testing.assert_allclose(table["mean"].astype(float), expected, atol=0.006)
    elpd = for_plot_khat(data, generation=generation)
    assert elpd.good_k == pytest.approx(1 - 1 / math.log10(200))
    plots = package if generation is CLASSIC else inference_data.quiet_import("arviz_plots")
    assert plots.plot_khat(elpd) is not None


def test_a_number_of_draws_that_is_none_is_refused():
    lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0)
    with pytest.raises(ModelError, match="num_samples must be an integer of at least 2"):
        pv.inference_data(lg, torch.zeros(2, 3), num_samples="many")


def test_names_of_rows_and_columns_come_back_of_a_pair_with_global_sites():
    vae = pv.models.BayesianDecoderVAE((3,), 2, likelihood="gaussian", network={"name": "mlp", "hidden": (4,)})
    frame = pd.DataFrame(np.eye(4)[:, :3], index=list("pqrs"), columns=["age", "mass", "dose"])
    groups = inference_data.groups_of(pv.inference_data(vae, frame, 5, num_predictive=2))
    for name in ("observed_data", "posterior_predictive"):
        x = groups[name]["x"]
        assert x["datum"].values.tolist() == list("pqrs")
        assert x[x.dims[-1]].values.tolist() == ["age", "mass", "dose"]
    assert groups["observed_data"]["x"].sel(datum="q", x_dim="mass").item() == 1
