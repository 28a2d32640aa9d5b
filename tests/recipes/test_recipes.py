"""The table of recipes: each row builds, options reach what they name, the named systems keep their promise."""

import inspect

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.training.settings import Settings
from ppl_vae.recipes import RECIPES, option_names
from tests.recipes.given import given

EVENT_SHAPES = {"tiny-conv-vae": (1, 3, 3), "conv-vae": (1, 8, 8), "ada-gvae": (2, 4, 4)}
# A level below its free bits moves no parameter of its prior.
NEEDED = {"beta-tc-vae": {"num_data": 100}, "very-deep-vae": {"floor": 0.0}}
SIGMA = 0.3


def example_shape(name):
    return EVENT_SHAPES.get(name, (1, 4, 4))


def example_data(vae, n=4):
    x = torch.rand(n, *vae.event_shape, generator=torch.Generator().manual_seed(0))
    likelihood = vae.model.likelihood
    inner = likelihood.likelihood if likelihood.name == "missing-pixels" else likelihood
    return x.round() if inner.name in ("bernoulli", "multinomial") else x


def test_names_are_strings_in_the_tables_order():
    assert pv.list_recipes() == list(RECIPES)
    assert all(isinstance(name, str) for name in pv.list_recipes())


# One step is less than any warm-up, and that is said.
@pytest.mark.filterwarnings("ignore:.*but the run has")
@pytest.mark.parametrize("name", RECIPES)
def test_each_row_builds_and_takes_a_step(name):
    recipe = pv.make(name, example_shape(name), **NEEDED.get(name, {}))
    x = example_data(recipe.vae)
    assert recipe.name == name
    data = given(recipe.vae, x)
    terms = data if isinstance(data, tuple) else (data,)
    assert torch.isfinite(recipe.elbo.estimator.per_datum(recipe.vae.model, recipe.vae.guide, *terms)).all()
    before = [p.clone() for p in recipe.vae.parameters()]
    result = pv.fit(recipe, data, epochs=1, batch_size=4, device="cpu", progress=False, validation=data)
    assert result.epochs_run == 1
    assert all(not torch.equal(p, b) for p, b in zip(recipe.vae.parameters(), before, strict=True))


@pytest.mark.parametrize("name", RECIPES)
def test_each_row_cites_its_source_and_has_settings_that_fit_knows(name):
    row = RECIPES[name]
    assert row.summary
    assert row.paper
    Settings(**row.settings)
    assert row.parts.keys() <= inspect.signature(row.program).parameters.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_options_of_the_three_kinds_do_not_overlap(name):
    groups = option_names(name)
    names = [option for group in groups.values() for option in group]
    assert len(names) == len(set(names))


def test_options_reach_model_objective_and_settings():
    recipe = pv.make(
        "beta-vae",
        (3,),
        latent_dim=4,
        network={"name": "mlp", "hidden": (5,)},
        seed=3,
        beta=2.5,
        estimator="monte-carlo-kl",
        num_particles=6,
        epochs=7,
        lr=0.02,
    )
    assert recipe.vae.latent_dim == 4
    assert recipe.vae.config["network"]["hidden"] == (5,)
    assert torch.equal(
        recipe.vae.model.decoder[0].weight,
        pv.VAE((3,), 4, network={"name": "mlp", "hidden": (5,)}, seed=3).model.decoder[0].weight,
    )
    assert recipe.elbo.beta == 2.5
    assert isinstance(recipe.elbo.estimator, inf.MonteCarloKL)
    assert recipe.elbo.num_draws == 6
    assert recipe.settings == {"epochs": 7, "lr": 0.02}


def test_options_change_only_what_they_name():
    plain, changed = pv.make("tiny-conv-vae", (1, 3, 3)), pv.make("tiny-conv-vae", (1, 3, 3), lr=1e-3)
    assert changed.settings == {**plain.settings, "lr": 1e-3}
    assert changed.vae.config == plain.vae.config
    assert changed.elbo.num_draws == plain.elbo.num_draws == 25


def test_another_estimator_takes_the_place_of_the_rows_own():
    by_name = pv.make("vae", (3,), elbo="monte-carlo-kl", num_particles=3)
    assert isinstance(by_name.elbo, inf.MonteCarloKL)
    assert by_name.elbo.num_draws == 3
    own = inf.Beta("analytic-kl", 2.0)
    assert pv.make("vae", (3,), elbo=own).elbo is own
    assert "elbo" not in pv.make("vae", (3,), elbo=own).settings


def test_options_of_an_objective_that_is_replaced_are_refused():
    with pytest.raises(
        ModelError, match=r"recipe 'beta-vae': \['beta'\] are options of the objective that elbo= replac"
    ):
        pv.make("beta-vae", (3,), beta=2.0, elbo=inf.AnalyticKL())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("beta-vea", {}, "unknown recipe 'beta-vea'; did you mean 'beta-vae'"),
        ("beta-vae", {"betta": 2.0}, "recipe 'beta-vae': unknown option 'betta'; did you mean 'beta'"),
        ("vae", {"latent_dims": 2}, "did you mean 'latent_dim'"),
        ("vae", {"beta": 2.0}, "recipe 'vae': unknown option 'beta'"),
        ("vae", {"epoch": 2}, "did you mean 'epochs'"),
        ("beta-vae", {"beta": -1.0}, "beta must be at least 0 and finite, got -1.0"),
        ("beta-vae", {"estimator": "analytic"}, "unknown estimator 'analytic'; did you mean 'analytic-kl'"),
        ("vae", {"elbo": "analytc-kl"}, "unknown estimator 'analytc-kl'; did you mean 'analytic-kl'"),
        ("vae", {"latent_dim": 0}, "latent_dim must be an integer of at least 1, got 0"),
    ],
)
def test_what_is_unknown_comes_with_the_nearest_known(name, options, message):
    with pytest.raises(ModelError, match=message):
        pv.make(name, (3,), **options)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("estimator", ["analytic-kl", "monte-carlo-kl"])
def test_beta_weights_the_kl_and_nothing_else(beta, estimator):
    """Loss and gradient are those of -(log p(x|z) - beta KL), written out on the same draws."""
    recipe = pv.make("beta-vae", (6,), beta=beta, estimator=estimator, num_particles=3, latent_dim=2)
    vae, x = recipe.vae.double(), torch.rand(5, 6, dtype=torch.float64).round()
    torch.manual_seed(1)
    loss = recipe.elbo(vae.model, vae.guide)(x)
    torch.manual_seed(1)
    z, q = (q := vae.encode(x)).rsample((3,)), q
    logits = vae.model.decoder(z.flatten(0, 1)).reshape(3, 5, 6)
    log_likelihood = (x * logits - torch.nn.functional.softplus(logits)).sum(-1)
    if estimator == "analytic-kl":
        kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
    else:
        kl = q.log_prob(z) + 0.5 * (z.square() + torch.tensor(2 * torch.pi).log()).sum(-1)
    expected = -(log_likelihood - beta * kl).mean(0).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    parameters = list(vae.parameters())
    for ours, written_out in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(ours, written_out, rtol=1e-5, atol=1e-8)


def test_full_covariance_recipe_has_a_full_covariance():
    vae = pv.make("full-covariance-vae", (6,), latent_dim=3).vae
    covariance = vae.encode(torch.rand(2, 6)).covariance_matrix
    assert (covariance - torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))).abs().max() > 1e-3


def test_conv_recipe_optimises_as_keras_does():
    settings = Settings(**pv.make("conv-vae", (1, 8, 8)).settings)
    optimizer = settings.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    (group,) = optimizer.param_groups
    assert (group["lr"], group["eps"], group["betas"]) == (1e-3, 1e-7, (0.9, 0.999))
    assert (settings.batch_size, settings.epochs, settings.patience) == (32, 30, 2)


def rmse(vae, x):
    """The root mean square error of each image's reconstruction: [N]."""
    return (vae.reconstruct(x) - x).square().mean((1, 2, 3)).sqrt()


@pytest.mark.slow
def test_the_3x3_system_learns_each_of_the_four_images(tiny_conv_run, four_images):
    assert tiny_conv_run.epochs_run == 4000
    assert tiny_conv_run.history["step"].iloc[-1] == 4000
    assert rmse(tiny_conv_run.model, four_images).max() < 0.1


@pytest.mark.slow
def test_the_3x3_systems_history_is_the_true_elbo(tiny_conv_run, four_images):
    """It agrees with an evaluation by formulas, and stays below log p(x) by importance sampling."""
    vae = tiny_conv_run.model
    with torch.no_grad():
        q = vae.encode(four_images)
        z = q.rsample((20_000,))
        log_p = torch.distributions.Normal(vae.decode(z).mean, SIGMA).log_prob(four_images).sum((2, 3, 4))
        kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
        elbo, stderr = (log_p.mean(0) - kl).mean(), (log_p.var(0) / len(z)).sum().sqrt() / 4
        log_prior = -0.5 * (z.square() + torch.tensor(2 * torch.pi).log()).sum(-1)
        evidence = torch.logsumexp(log_p + log_prior - q.log_prob(z), 0).sub(torch.tensor(20_000.0).log())
    # A row is the mean of 25 draws for each image before a step; the last twenty hardly move the weights.
    rows = tiny_conv_run.history["train_elbo"].tail(20)
    spread = rows.std() / 20**0.5
    assert abs(rows.mean() - elbo.item()) < 4 * (spread**2 + stderr.item() ** 2) ** 0.5 + 0.05
    assert elbo < evidence.mean()


@pytest.mark.slow
def test_the_3x3_system_with_unit_noise_collapses(four_images):
    """The counter-case: sigma = 1 explains no image, the code is the prior's, reconstructions are all the mean."""
    recipe = pv.make("tiny-conv-vae", (1, 3, 3), likelihood={"name": "gaussian", "sigma": 1.0}, epochs=500)
    result = pv.fit(recipe, four_images, device="cpu", progress=False)
    assert result.history["train_kl"].iloc[-1] < 0.05
    reconstructions = result.model.reconstruct(four_images)
    assert reconstructions.std(0).max() < 0.02
    assert rmse(result.model, four_images).max() > 0.25


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_the_3x3_system_learns_from_other_seeds_too(seed, four_images):
    recipe = pv.make("tiny-conv-vae", (1, 3, 3), seed=seed)
    result = pv.fit(recipe, four_images, seed=seed, device="cpu", progress=False)
    assert rmse(result.model, four_images).max() < 0.1
