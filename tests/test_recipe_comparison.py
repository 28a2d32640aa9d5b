"""``compare_recipes``: each number against another road to it, refusals by label, no run touches another."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data import Dataset
from ppl_vae.data.dataset import Split
from ppl_vae.errors import ConvergenceError, DataError, ModelError
from ppl_vae.inference import evaluate
from ppl_vae.recipe_comparison import DESCRIPTIONS

SMALL = {"latent_dim": 2, "network": {"name": "mlp", "hidden": (8,)}}
RECIPES = [
    ("plain", "vae", SMALL),
    ("beta = 16", "beta-vae", {**SMALL, "beta": 16.0}),
    ("tc", "beta-tc-vae", SMALL),
    ("vamp", "vamp-vae", {**SMALL, "prior": {"name": "vamp", "num_components": 5}}),
]


def small_data(n=60, held_out=40):
    """Binary data [n, 6] whose columns depend on one bit."""
    generator = torch.Generator().manual_seed(0)

    def draw(size):
        bit = torch.rand(size, 1, generator=generator).round()
        return torch.bernoulli(0.1 + 0.8 * bit.expand(-1, 6), generator=generator)

    return Dataset("bits", Split(draw(n)), Split(draw(held_out)), binarization="threshold")


def compare(recipes=RECIPES, data=None, **options):
    settings = {"seeds": (0, 1), "epochs": 2, "batch_size": 20, "num_samples": 20}
    data = small_data() if data is None else data
    return pv.compare_recipes(recipes, data, progress=False, device="cpu", **{**settings, **options})


@pytest.fixture(scope="module")
def table():
    return compare()


@pytest.mark.slow
def test_the_table_has_a_row_a_recipe_and_a_column_a_seed(table):
    assert list(table["recipe"].values) == [label for label, *_ in RECIPES]
    assert list(table["seed"].values) == [0, 1]
    assert list(table["name"].values) == ["vae", "beta-vae", "beta-tc-vae", "vamp-vae"]
    assert set(table["likelihood"].values) == {"bernoulli"}
    assert set(table.data_vars) == set(DESCRIPTIONS)
    for variable in table.data_vars.values():
        assert variable.dims == ("recipe", "seed")
        assert variable.attrs["description"]
        assert np.isfinite(variable).all()


@pytest.mark.slow
def test_the_attributes_say_on_which_data_and_with_how_many_draws(table):
    expected = {"data": "bits", "binarization": "threshold", "num_data": 40, "evidence_draws": 20}
    expected |= {"num_particles": 16, "active_threshold": 0.01}
    assert {name: table.attrs[name] for name in expected} == expected


@pytest.mark.slow
def test_the_elbo_is_minus_rate_and_distortion_whatever_was_trained(table):
    np.testing.assert_allclose(table["elbo"], -table["rate"] - table["distortion"], rtol=1e-5)
    assert (table["seconds"] > 0).all()
    assert (table["epochs"] == 2).all()
    slack = 4 * (table["elbo_stderr"] + table["log_evidence_draw_stderr"])
    assert (table["log_evidence"] > table["elbo"] - slack).all()


def test_means_and_spreads_over_seeds_keep_what_belongs_to_the_recipes(table):
    mean, spread = table.mean("seed"), table.std("seed", ddof=1)
    assert mean["elbo"].dims == spread["elbo"].dims == ("recipe",)
    assert list(mean["likelihood"].values) == ["bernoulli"] * 4
    assert (spread["elbo"] > 0).all()


def test_the_numbers_are_those_of_a_run_by_hand(table):
    data = small_data()
    recipe = pv.make("beta-vae", (6,), seed=1, beta=16.0, **SMALL)
    pv.fit(recipe, data, epochs=2, batch_size=20, seed=1, device="cpu", progress=False)
    by_hand = evaluate(recipe.vae, data.test.x, num_particles=16, seed=1).summary()
    row = table.sel(recipe="beta = 16", seed=1)
    assert row["elbo"].item() == by_hand["elbo"]
    assert row["rate"].item() == by_hand["kl"]
    active = (recipe.vae.encode(data.test.x).mean.var(0) > 0.01).sum()
    assert row["active_units"].item() == active


def test_a_run_depends_on_its_own_seed_alone_and_leaves_torch_as_it_was(table):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    alone = compare(RECIPES[1:2], seeds=(1,))
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("elbo", "rate", "log_evidence", "active_units"):
        assert alone[name].item() == table[name].sel(recipe="beta = 16", seed=1).item()


@pytest.mark.slow
def test_names_and_a_mapping_mean_the_same():
    by_mapping = compare({"plain": ("vae", SMALL)}, seeds=(0,))
    assert by_mapping["elbo"].item() == compare(RECIPES[:1], seeds=(0,))["elbo"].item()
    assert compare(["vae"], seeds=(3,), epochs=1)["recipe"].item() == "vae"


@pytest.mark.slow
def test_an_objective_given_as_an_object_is_not_shared_by_runs():
    own = pv.inference.RLOO(2)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    compare([("own", "vae", {**SMALL, "elbo": own})])
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


def test_a_replaced_objective_is_not_given_the_number_of_data(table):
    replaced = compare([("tc", "beta-tc-vae", {**SMALL, "elbo": "analytic-kl"})], seeds=(0,))
    assert replaced["elbo"].item() != table["elbo"].sel(recipe="tc", seed=0).item()


@pytest.mark.slow
def test_runs_are_written_by_label_and_seed(tmp_path):
    compare(RECIPES[:1], out_dir=tmp_path)
    assert all(any((tmp_path / "plain" / f"seed-{seed}").iterdir()) for seed in (0, 1))


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ([], "expected at least one name"),
        ("vae", "expected at least one name"),
        (3, "expected at least one name"),
        ({"a": 3}, r"expected a name, recipe, \(label, recipe\) or \(label, name, options\), got tuple of 'a', 3"),
        ([pv.VAE((6,), latent_dim=2)], r"expected a name.*, got VAE$"),
        (pv.VAE((6,), latent_dim=2), r"expected at least one name.*, got VAE$"),
        ([("a", pv.VAE((6,), latent_dim=2), {})], "got tuple of 'a', VAE, dict"),
        ([pv.make("vae", (6,)), pv.make("vae", (6,))], "recipe 'vae' is asked for twice"),
        (["vae", "vae"], "recipe 'vae' is asked for twice"),
        ([("a", "vea", {})], "recipe 'a': unknown recipe 'vea'; did you mean 'vae'"),
        ([("a", "beta-vae", {"betta": 2.0})], "recipe 'a': recipe 'beta-vae': unknown option 'betta'"),
        ([("a", "vae", {"seed": 2})], "recipe 'a': seed is not an option here"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused_by_label(recipes, message):
    with pytest.raises(ModelError, match=message):
        compare(recipes)


def test_other_refusals():
    with pytest.raises(DataError, match="expected a Dataset with a train and a test split, got Tensor"):
        compare(data=torch.zeros(4, 6))
    grey = Dataset("grey", Split(torch.rand(5, 6)), Split(torch.rand(5, 6)))
    with pytest.raises(DataError, match=r"recipe 'plain': likelihood 'bernoulli' needs binary data"):
        compare(data=grey)
    with pytest.raises(ModelError, match="seeds: expected distinct integers"):
        compare(seeds=(1, 1))
    with pytest.raises(ModelError, match="seeds: expected distinct integers, at least one, got 3"):
        compare(seeds=3)
    with pytest.raises(ModelError, match="active_threshold must be a number, got 'x'"):
        compare(active_threshold="x")
    with pytest.raises(ModelError, match="the label names the folder of its runs"):
        compare([("../x", "vae", SMALL)], out_dir="runs")
    with pytest.raises(ModelError, match="num_samples must be an integer of at least 2, got 1"):
        compare(num_samples=1)


def test_a_recipe_without_an_evidence_is_refused_before_any_training(tmp_path):
    recipes = [RECIPES[0], ("points", "autoencoder", SMALL)]
    with pytest.raises(ModelError, match="recipe 'points': site 'z': the prior is improper"):
        compare(recipes, out_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_recipe_with_global_sites_is_refused_before_any_training(tmp_path):
    with pytest.raises(ModelError, match="recipe 'b': site 'weights' is global"):
        compare([RECIPES[0], ("b", "bayesian-decoder-vae", SMALL)], out_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_recipe_of_covariates_is_judged_given_those_of_the_test_split():
    """They were refused, with the advice to give data as a dict, which is none that it takes."""
    plain = small_data(20, 10)
    parts = [
        Split(part.x, covariates={"dose": torch.linspace(0, 1, len(part.x))}) for part in (plain.train, plain.test)
    ]
    entry = [("dosed", "conditional-vae", {**SMALL, "covariates": {"dose": "continuous"}})]
    found = compare(entry, Dataset("dosed", *parts), seeds=(0,), epochs=1)
    recipe = pv.make("conditional-vae", (6,), seed=0, covariates={"dose": "continuous"}, **SMALL)
    pv.fit(recipe, Dataset("dosed", *parts), epochs=1, batch_size=20, seed=0, progress=False, device="cpu")
    by_hand = evaluate(recipe, {"x": plain.test.x, **parts[1].covariates}, num_particles=16, seed=0)
    assert found["elbo"].item() == pytest.approx(by_hand.summary()["elbo"], rel=1e-6)


def test_a_run_that_breaks_names_its_recipe_and_seed():
    with pytest.raises(ConvergenceError, match="recipe 'plain', seed 0: "):
        compare(RECIPES[:1], lr=1e30, epochs=5)


@pytest.mark.slow
def test_a_recipe_that_allows_missing_labels_is_judged_without_them():
    """Its numbers are of log p(x), as the other recipes' are: no label of the test split has a say in them."""
    plain = small_data()
    y = torch.arange(40) % 2

    def labelled(test_y):
        return Dataset("bits", Split(plain.train.x, torch.arange(60) % 2), Split(plain.test.x, test_y))

    entry = [("m2", "semi-supervised-vae", {**SMALL, "num_classes": 2, "hidden": (8,)})]
    found = [compare(entry, labelled(test_y), seeds=(0,), epochs=1).drop_vars("seconds") for test_y in (y, 1 - y)]
    assert found[0].equals(found[1])
    assert found[0]["elbo"].item() <= found[0]["log_evidence"].item()


@pytest.mark.slow
def test_a_made_recipe_is_made_again_for_every_seed():
    made = pv.make("beta-vae", (6,), seed=5, beta=16.0, **SMALL)
    expected = compare([RECIPES[1]])
    for recipes in ([("beta = 16", made)], {"beta = 16": made}):
        found = compare(recipes)
        assert found.drop_vars("seconds").identical(expected.drop_vars("seconds"))
    assert list(compare([made])["recipe"].values) == ["beta-vae"]


@pytest.mark.slow
def test_a_recipe_put_together_by_hand_starts_from_its_own_weights():
    vae = pv.VAE((6,), seed=3, **SMALL)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    mine = pv.Recipe("mine", vae, inf.AnalyticKL(), {"lr": 0.01})
    found = compare([mine], seeds=(0,))
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    twin = pv.VAE((6,), seed=3, **SMALL)
    pv.fit(twin, small_data(), lr=0.01, epochs=2, batch_size=20, seed=0, device="cpu", progress=False)
    judged = evaluate(twin, small_data().test.x, num_particles=16, seed=0).summary()
    assert found["elbo"].item() == pytest.approx(judged["elbo"], abs=1e-6)


@pytest.mark.slow
def test_a_recipe_that_was_changed_after_it_was_made_is_not_made_again():
    """What was replaced was left out: a beta of .001 had the rate of a beta of 1."""
    made = pv.make("vae", (6,), lr=0.05, **SMALL)
    light = replace(made, elbo=inf.Beta(inf.AnalyticKL(), beta=1e-3))
    slow = pv.make("vae", (6,), **SMALL)
    slow.settings["lr"] = 1e-9
    found = compare([("made", made), ("light", light), ("slow", slow)], seeds=(0,), epochs=2)
    assert found["rate"].sel(recipe="light").item() > 2 * found["rate"].sel(recipe="made").item()
    data = small_data()
    untrained = pv.make("vae", (6,), data=data.train.x, seed=0, **SMALL)
    expected = evaluate(untrained, data.test.x, num_particles=16, seed=0).summary()["elbo"]
    assert found["elbo"].sel(recipe="slow").item() == pytest.approx(expected, abs=1e-4)


def test_a_recipe_with_a_part_replaced_is_one_put_together_by_hand():
    made = pv.make("vae", (6,), **SMALL)
    assert made.options == SMALL
    assert replace(made, elbo=inf.Beta(inf.AnalyticKL(), beta=2.0)).options is None
    assert replace(made, settings={}).options is None


def test_a_mapping_may_name_recipes():
    assert list(compare({"a": "vae"}, seeds=(0,), **{"epochs": 1})["name"].values) == ["vae"]
