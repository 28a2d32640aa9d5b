"""What the recipes on the aggregate posterior do to it, in closed form: linear encoders of Gaussian data.

For a code's mean V x + c and variances s^2 the aggregate posterior has the covariance Cov_x[mu] + diag s^2, and its
total correlation is 1/2 [sum_j log S_jj - log det S] (KNOWLEDGE 1.14).
"""

import time

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.inference.objectives.aggregate_posterior import squared_mmd
from ppl_vae.inference.training.settings import Settings
from tests.recipes.test_recipe_points import train

SIGMA, EPOCHS, BATCH = 0.5, 80, 100


def gaussian_data(correlation, n=400):
    """[n, 2] of variances 1."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=generator)
    x[:, 1] = correlation * x[:, 0] + (1 - correlation**2) ** 0.5 * x[:, 1]
    return x


def fitted(name, x, freeze_decoder=False, **options):
    """A VAE with a linear encoder and decoder and 2 latent dimensions; a frozen decoder is the identity."""
    shared = {"latent_dim": 2, "network": "linear", "likelihood": {"name": "gaussian", "sigma": SIGMA}}
    recipe = pv.make(name, (2,), **shared, **options)
    if freeze_decoder:
        recipe.vae.model.requires_grad_(False)
        recipe.vae.model.decoder.weight.copy_(torch.eye(2))
        recipe.vae.model.decoder.bias.zero_()
    steps = EPOCHS * (len(x) // BATCH)
    train(recipe, x, EPOCHS, batch_size=BATCH, lr=5e-2, schedule=inf.schedules.cosine(steps))
    return recipe.vae


@pytest.fixture(scope="module")
def without_any_divergence():
    """What the likelihood alone makes of data of a correlation of 0.3, and these data."""
    x = gaussian_data(correlation=0.3)
    return fitted("vae", x, elbo=inf.Beta("analytic-kl", 0.0)), x


@torch.no_grad()
def aggregate_covariance(vae, x, of_means=False):
    q = vae.encode(x)
    return q.mean.mT.cov() + (0.0 if of_means else 1.0) * q.variance.mean(0).diag()


def total_correlation(covariance):
    return 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)).item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "free"),
    [
        ("factor-vae", {"hidden": (32, 32), "gamma": 10.0, "discriminator_lr": None}, {"gamma": 0.0}),
        ("beta-tc-vae", {"num_data": 400, "beta": 10.0}, {"beta": 1.0}),
    ],
)
def test_a_weight_on_the_total_correlation_lowers_it(name, options, free):
    """Under an identity for a decoder the ELBO leaves mu = x / (1 + sigma^2), s^2 = sigma^2 / (1 + sigma^2)."""
    x = gaussian_data(correlation=0.8)
    plain = total_correlation(aggregate_covariance(fitted(name, x, True, **{**options, **free}), x))
    variance = SIGMA**2
    exact = total_correlation(x.mT.cov() / (1 + variance) ** 2 + variance / (1 + variance) * torch.eye(2))
    assert exact > 0.15
    assert plain == pytest.approx(exact, rel=0.1)
    assert total_correlation(aggregate_covariance(fitted(name, x, True, **options), x)) < 0.5 * exact


@pytest.mark.slow
def test_factor_vae_learns_the_digits_with_the_settings_of_its_row():
    """In under a minute: latents of 3 nats or more, 15 nats of held-out ELBO above no training (KL 0 is 27)."""
    digits = pv.load_dataset("digits", binarize="dynamic")
    recipe = pv.make("factor-vae", digits.event_shape)

    def judged():
        return inf.evaluate(recipe.vae, digits.test.x, num_particles=4).summary()

    untrained = judged()["elbo"]
    started = time.process_time()
    train(recipe, digits, Settings.epochs)
    assert time.process_time() - started < 60
    found = judged()
    assert found["elbo"] > untrained + 15.0
    assert found["kl"] > 3.0


def distance_from_identity(covariance):
    return (covariance - torch.eye(2)).abs().max().item()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "of_means"), [("dip-vae-i", True), ("dip-vae-ii", False)])
def test_dip_holds_the_covariance_near_the_identity_where_no_kl_does(name, of_means, without_any_divergence):
    """To 0.1 in every entry, under a likelihood alone, which by itself leaves it anywhere."""
    free, x = without_any_divergence
    objective = inf.DIP(inf.Beta("analytic-kl", 0.0), kind=name.removeprefix("dip-vae-"))
    held = fitted(name, x, elbo=objective)
    assert distance_from_identity(aggregate_covariance(held, x, of_means)) < 0.1
    assert distance_from_identity(aggregate_covariance(free, x, of_means)) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["info-vae", "wae-mmd"])
def test_mmd_brings_the_codes_to_the_prior(name, without_any_divergence):
    """The squared MMD to prior draws falls below 0.01; without any divergence it stays above 0.1."""
    free, x = without_any_divergence

    def distance(vae):
        # Not the seed of the data: the codes' noise would be theirs.
        torch.manual_seed(1)
        with torch.no_grad():
            return squared_mmd(vae.encode(x).sample(), torch.randn(2000, 2), 1.0).item()

    assert distance(fitted(name, x, scale=100.0)) < 0.01
    assert distance(free) > 0.1
