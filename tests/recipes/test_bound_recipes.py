"""What the papers of the importance-weighted bounds are about, at models that their recipes trained on the digits.

Signal-to-noise ratios are |E g| / sqrt(tr Cov g) over the gradient of all guide (phi) or model (theta) parameters.
"""

import itertools
import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from tests.recipes.test_recipe_points import train

pytestmark = pytest.mark.slow

NAMES = ("iwae", "miwae", "piwae", "ciwae", "dreg-iwae", "renyi-vae")
SMALL = {"latent_dim": 8, "network": {"name": "mlp", "hidden": (64,), "activation": "tanh"}}
# How often the gradients of one batch are drawn.
REPEATS = 40


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits", binarize="dynamic")


def held_out_elbo(vae, x):
    return inf.evaluate(vae, x, num_particles=4).summary()["elbo"]


@pytest.fixture(scope="module")
def trained(digits):
    """By name: the trained VAE, and its held-out plain ELBO before and after."""
    found = {}
    for name in NAMES:
        recipe = pv.make(name, digits.event_shape, **SMALL)
        before = held_out_elbo(recipe.vae, digits.test.x)
        train(recipe, digits, 3, batch_size=64, lr=5e-3)
        found[name] = recipe.vae, before, held_out_elbo(recipe.vae, digits.test.x)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_three_epochs_beat_no_training_by_ten_nats(name, trained):
    """On held-out plain ELBO, whatever bound was trained; it starts at 45 nats below 0."""
    _, before, after = trained[name]
    assert after > before + 10


@torch.no_grad()
def bounds(vae, x, estimators, repeats=20):
    """Values on the same draws: the mean over data of every repeat, [R] each."""
    num_draws = {estimator.num_draws for estimator in estimators}
    assert len(num_draws) == 1
    rows = []
    for _ in range(repeats):
        terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=next(iter(num_draws)))
        rows.append(torch.stack([estimator.bound(terms).mean() for estimator in estimators]))
    return torch.stack(rows).T


@pytest.mark.parametrize("name", NAMES)
def test_bounds_stand_in_the_order_of_their_inequalities(name, trained, digits):
    """ELBO < CIWAE < IWAE_64 and ELBO < MIWAE(8, 8) < IWAE_64, each step by five standard errors of itself."""
    torch.manual_seed(0)
    elbo, ciwae, miwae, iwae = bounds(
        trained[name][0],
        digits.test.x[:60],
        [inf.MonteCarloKL(64), inf.CIWAE(64, mix=0.5), inf.MIWAE(8, 8), inf.ImportanceWeighted(64)],
    )
    for low, high in ((elbo, ciwae), (ciwae, iwae), (elbo, miwae), (miwae, iwae)):
        gain = high - low
        assert gain.mean() > 5 * gain.std() / math.sqrt(len(gain))
        assert gain.mean() > 0.01


def test_renyi_bounds_fall_as_alpha_rises(trained, digits):
    """For every datum, on the same draws: power means are ordered. The ELBO stands at alpha = 1."""
    vae, _, _ = trained["renyi-vae"]
    torch.manual_seed(0)
    terms = inf.trace_terms(vae.model, vae.guide, digits.test.x, num_particles=16)
    orders = [inf.Renyi(16, alpha=a) for a in (-2.0, 0.0, 0.5, 0.9)] + [inf.MonteCarloKL(16)]
    orders += [inf.Renyi(16, alpha=a) for a in (1.1, 3.0)]
    with torch.no_grad():
        values = [estimator.bound(terms) for estimator in orders]
    assert all((high > low).all() for high, low in itertools.pairwise(values))


def gradients(estimator, vae, x, part):
    """The loss's gradient by all parameters of "guide" or "model", drawn REPEATS times: [R, P]."""
    torch.manual_seed(0)
    parameters, rows = list(getattr(vae, part).parameters()), []
    for _ in range(REPEATS):
        loss = estimator.forward(estimator.run(vae.model, vae.guide, x))
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


def signal_to_noise(rows):
    """|E g| / sqrt(tr Cov g), the square of the mean without what its own noise adds."""
    noise = rows.var(0).sum()
    signal = rows.mean(0).square().sum() - noise / len(rows)
    return (signal.clamp_min(0) / noise).sqrt().item()


@pytest.fixture(scope="module")
def ratios(trained, digits):
    """The SNR by estimator and part, 64 draws for each estimator, at the model of the recipe "dreg-iwae"."""
    vae, x = trained["dreg-iwae"][0], digits.test.x[:32]
    estimators = {
        "iwae": inf.ImportanceWeighted(64),
        "dreg": inf.DReG(64),
        "miwae": inf.MIWAE(8, 8),
        "piwae": inf.PIWAE(8, 8),
        "ciwae": inf.CIWAE(64, mix=0.5),
    }
    return {
        (name, part): signal_to_noise(gradients(estimator, vae, x, part))
        for name, estimator in estimators.items()
        for part in ("guide", "model")
    }


@pytest.mark.parametrize("name", ["dreg", "miwae", "piwae", "ciwae"])
def test_the_guides_gradient_is_clearer_than_iwaes(name, ratios):
    """Of as many draws: over twice its SNR, which 64 weights in one bound have drowned (Rainforth et al. 2018)."""
    assert ratios["iwae", "guide"] < 0.35
    assert ratios[name, "guide"] > 2 * max(ratios["iwae", "guide"], 0.15), ratios


def test_piwae_has_the_models_gradient_of_iwae_and_the_guides_of_miwae(ratios):
    assert ratios["piwae", "model"] == pytest.approx(ratios["iwae", "model"], rel=1e-4)
    assert ratios["piwae", "guide"] == pytest.approx(ratios["miwae", "guide"], rel=1e-4)
    assert ratios["piwae", "guide"] != pytest.approx(ratios["iwae", "guide"], rel=0.5)
