"""The point of the semi-supervised VAE, on the digits: with 100 labels it beats a classifier on the same labels.

Grey digits under a Gaussian likelihood, so that nobody has less to see than the other. The classifier is the same
encoder with the same layer on it, from the same initial weights, trained by Adam on the 100 labelled images until
it makes no mistake on them; beside it a logistic regression.
"""

import dataclasses
import time

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data import hide_labels, repeat_labelled

PARTS = {
    "latent_dim": 20,
    "network": {"name": "mlp", "hidden": (256, 128), "activation": "relu"},
    "hidden": (64,),
    "likelihood": {"name": "gaussian", "sigma": 0.2},
    "alpha": 2.0,
}
# Labels are six in a hundred; repeated four times they are a fifth of every batch.
REPEATED = 4


def made(seed):
    return pv.make("semi-supervised-vae", (1, 8, 8), seed=seed, **PARTS)


@torch.no_grad()
def accuracy(vae, split):
    return (vae.classify(split.x).logits.argmax(-1) == split.y).float().mean().item()


def semi_supervised(ds, seed, epochs):
    """The recipe, trained, and the seconds of the processor that it took."""
    recipe = made(seed)
    few = repeat_labelled(hide_labels(ds, 100, seed), REPEATED)
    options = {"batch_size": 64, "lr": 5e-3, "device": "cpu", "progress": False, "seed": seed}
    started = time.process_time()
    pv.fit(recipe, few, epochs=epochs, **options)
    return recipe, time.process_time() - started


def labelled(ds, seed):
    few = hide_labels(ds.train, 100, seed)
    return ds.train.x[few.y != -1], ds.train.y[few.y != -1]


def classifiers(ds, seed):
    """Test accuracies of the two classifiers on the labelled data alone."""
    x, y = labelled(ds, seed)
    vae = made(seed).vae
    optimizer = torch.optim.Adam(vae.guide.parameters(), lr=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(vae.classify(x).logits, y).backward()
        optimizer.step()
    assert accuracy(vae, pv.data.Split(x, y)) == 1
    linear = LogisticRegression(max_iter=5000).fit(x.flatten(1), y)
    return {"network": accuracy(vae, ds.test), "linear": linear.score(ds.test.x.flatten(1), ds.test.y)}


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits")


@pytest.fixture(scope="module")
def trained(digits):
    return semi_supervised(digits, seed=0, epochs=20)


def test_a_hundred_labels_and_the_unlabelled_rest_beat_the_hundred_labels(trained, digits):
    """By more than 3 points of test accuracy over the better of the two, at one seed.

    Measured: 94.4% against 89.4% of the network and 90.0% of the linear one, on 180 digits.
    """
    found, rivals = accuracy(trained[0].vae, digits.test), classifiers(digits, seed=0)
    assert min(rivals.values()) > 0.8
    assert found > max(rivals.values()) + 0.03, (found, rivals)


def test_it_learns_to_generate_along(trained, digits):
    """More than 100 nats above itself untrained in the bound on held-out log p(x), within a minute."""
    recipe, seconds = trained
    before = inf.evaluate(made(0).vae, digits.test.x).elbo.mean()
    assert inf.evaluate(recipe.vae, digits.test.x).elbo.mean() > before + 100
    assert seconds < 60


def test_the_class_that_is_asked_for_is_what_is_drawn(trained, digits):
    """A logistic regression on all training labels tells the class of at least nine in ten drawn digits."""
    judge = LogisticRegression(max_iter=5000).fit(digits.train.x.flatten(1), digits.train.y)
    y = torch.arange(10).repeat(30)
    torch.manual_seed(0)
    drawn = trained[0].vae.sample(300, y=y)
    assert judge.score(drawn.flatten(1), y) > 0.9


def test_an_analogy_is_of_the_class_asked_for_in_the_style_of_the_datum(trained, digits):
    """Told by the same judge. In its own class a datum is nearest to its own code's image ten times above chance.

    Measured: 35% of sixty data; chance is one in sixty.
    """
    vae, x, own = trained[0].vae, digits.test.x[:60], digits.test.y[:60]
    analogies = vae.analogies(x, own).flatten(2)
    judge = LogisticRegression(max_iter=5000).fit(digits.train.x.flatten(1), digits.train.y)
    y = torch.arange(10).repeat_interleave(60)
    assert judge.score(analogies.flatten(0, 1), y) > 0.9
    distance = torch.cdist(x.flatten(1)[:, None], analogies[own])[:, 0]
    assert (distance.argmin(1) == torch.arange(60)).float().mean() > 10 / 60


@pytest.mark.parametrize("labels", ["labelled", "unlabelled"])
def test_data_with_labels_only_or_without_any_train_too(labels, digits):
    """The held-out bound rises by more than 50 nats in two epochs."""
    y = digits.train.y if labels == "labelled" else torch.full_like(digits.train.y, -1)
    ds = dataclasses.replace(digits, train=dataclasses.replace(digits.train, y=y))
    recipe = made(0)
    before = inf.evaluate(recipe.vae, digits.test.x).elbo.mean()
    pv.fit(recipe, ds, epochs=2, batch_size=64, lr=5e-3, device="cpu", progress=False)
    assert inf.evaluate(recipe.vae, digits.test.x).elbo.mean() > before + 50


@pytest.mark.slow
def test_it_beats_the_classifiers_in_the_mean_over_seeds(digits):
    """Of labels, weights and batches; by more than 3 points over each of the two."""
    gains = []
    for seed in range(3):
        recipe, _ = semi_supervised(digits, seed, epochs=30)
        rivals = classifiers(digits, seed)
        gains.append({name: accuracy(recipe.vae, digits.test) - rival for name, rival in rivals.items()})
    for name in ("network", "linear"):
        assert sum(gain[name] for gain in gains) / len(gains) > 0.03, gains
