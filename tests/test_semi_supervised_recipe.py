"""The point of the semi-supervised VAE, on the digits: with 100 labels it beats a classifier on the same labels.

Grey digits under a Gaussian likelihood, so that nobody has less to see than the other. The rivals are the same
encoder with the same layer on it, from the same initial weights, trained by Adam on the 100 labelled images until
it makes no mistake on them, and a logistic regression; M2 is compared with the better of the two on each draw of
labels. All are judged on 500 held-out digits. The settings were chosen with other draws of labels, by the training
digits without labels: no held-out one was looked at.
"""

import dataclasses
import math
import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data import Split, hide_labels, repeat_labelled

PARTS = {"likelihood": {"name": "gaussian", "sigma": 0.25}}
BATCH_SIZE, HELD_OUT = 64, 500
# Labels are eight in a hundred; repeated four times they are a quarter of every batch.
REPEATED = 4
# With the labelled data alone. Whoever starts with all of them lets the classes be claimed before they are known.
FIRST_STEPS = 200


def made(seed):
    return pv.make("semi-supervised-vae", (1, 8, 8), seed=seed, **PARTS)


@torch.no_grad()
def accuracy(vae, split):
    return (vae.classify(split.x).logits.argmax(-1) == split.y).float().mean().item()


def labelled(ds, seed):
    few = hide_labels(ds.train, 100, seed)
    return Split(ds.train.x[few.y != -1], ds.train.y[few.y != -1])


def semi_supervised(ds, seed, epochs):
    """The recipe, trained on the labelled data and then on all, and the seconds of the processor that it took."""
    recipe = made(seed)
    few = repeat_labelled(hide_labels(ds.train, 100, seed), REPEATED)
    falling = inf.schedules.cosine(epochs * math.ceil(len(few) / BATCH_SIZE))
    options = {"device": "cpu", "progress": False, "seed": seed}
    started = time.process_time()
    pv.fit(recipe, labelled(ds, seed), epochs=FIRST_STEPS, batch_size=100, **options)
    pv.fit(recipe, few, epochs=epochs, batch_size=BATCH_SIZE, schedule=falling, **options)
    return recipe, time.process_time() - started


def classifiers(ds, seed):
    """Held-out accuracies of the two classifiers on the labelled data alone."""
    known = labelled(ds, seed)
    x, y = known.x, known.y
    vae = made(seed).vae
    optimizer = torch.optim.Adam(vae.guide.parameters(), lr=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(vae.classify(x).logits, y).backward()
        optimizer.step()
    assert accuracy(vae, known) == 1
    linear = LogisticRegression(max_iter=5000).fit(x.flatten(1), y)
    return {"network": accuracy(vae, ds.test), "linear": linear.score(ds.test.x.flatten(1), ds.test.y)}


@pytest.fixture(scope="module")
def digits():
    """1297 to train on, 500 held out; the data set's own test digits, by which much was tried, are trained on."""
    ds = pv.load_dataset("digits")
    order = torch.from_numpy(np.random.default_rng(2024).permutation(len(ds.train)))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    train = Split(torch.cat([ds.train.x[rest], ds.test.x]), torch.cat([ds.train.y[rest], ds.test.y]))
    return dataclasses.replace(ds, train=train, test=Split(ds.train.x[held_out], ds.train.y[held_out]))


@pytest.fixture(scope="module")
def trained(digits):
    return semi_supervised(digits, seed=0, epochs=60)


def test_a_hundred_labels_and_the_unlabelled_rest_beat_the_hundred_labels(trained, digits):
    """By more than 2 points of accuracy over the better of the two, at one seed.

    Measured: 95.4% against 90.6% of the network and 91.6% of the linear one; one standard error of each is a point.
    """
    found, rivals = accuracy(trained[0].vae, digits.test), classifiers(digits, seed=0)
    assert min(rivals.values()) > 0.8
    assert found > max(rivals.values()) + 0.02, (found, rivals)


def test_it_learns_to_generate_along(trained, digits):
    """More than 90 nats above itself untrained in the bound on held-out log p(x), within a minute.

    Measured: 12 nats per datum after -101.
    """
    recipe, seconds = trained
    before = inf.evaluate(made(0).vae, digits.test.x).elbo.mean()
    assert inf.evaluate(recipe.vae, digits.test.x).elbo.mean() > before + 90
    assert seconds < 60


def test_the_class_that_is_asked_for_is_what_is_drawn(trained, digits):
    """A logistic regression on all training labels tells the class of at least nine in ten drawn digits."""
    judge = LogisticRegression(max_iter=5000).fit(digits.train.x.flatten(1), digits.train.y)
    y = torch.arange(10).repeat(30)
    torch.manual_seed(0)
    drawn = trained[0].vae.sample(300, y=y)
    assert judge.score(drawn.flatten(1), y) > 0.9


def test_an_analogy_is_of_the_class_asked_for_in_the_style_of_the_datum(trained, digits):
    """Told by the same judge. In its own class a datum is nearest to its own code's image in half of all cases.

    Measured: 77% of sixty data; chance is one in sixty.
    """
    vae, x, own = trained[0].vae, digits.test.x[:60], digits.test.y[:60]
    analogies = vae.analogies(x, own).flatten(2)
    judge = LogisticRegression(max_iter=5000).fit(digits.train.x.flatten(1), digits.train.y)
    y = torch.arange(10).repeat_interleave(60)
    assert judge.score(analogies.flatten(0, 1), y) > 0.9
    distance = torch.cdist(x.flatten(1)[:, None], analogies[own])[:, 0]
    assert (distance.argmin(1) == torch.arange(60)).float().mean() > 30 / 60


@pytest.mark.parametrize("labels", ["labelled", "unlabelled"])
def test_data_with_labels_only_or_without_any_train_too(labels, digits):
    """The held-out bound rises by more than 50 nats in two epochs."""
    y = digits.train.y if labels == "labelled" else torch.full_like(digits.train.y, -1)
    ds = dataclasses.replace(digits, train=dataclasses.replace(digits.train, y=y))
    recipe = made(0)
    before = inf.evaluate(recipe.vae, digits.test.x).elbo.mean()
    pv.fit(recipe, ds, epochs=2, device="cpu", progress=False)
    assert inf.evaluate(recipe.vae, digits.test.x).elbo.mean() > before + 50


@pytest.mark.slow
def test_it_beats_the_classifiers_in_the_mean_over_seeds(digits):
    """Of labels, weights and batches: by more than 2 points over the better of the two, and at every seed.

    Measured: 3.2 points, standard error 0.6 over the five; from 1.2 to 4.6.
    """
    gains = []
    for seed in range(5):
        recipe, seconds = semi_supervised(digits, seed, epochs=160)
        gains.append(accuracy(recipe.vae, digits.test) - max(classifiers(digits, seed).values()))
        assert seconds < 60
    assert min(gains) > 0, gains
    assert sum(gains) / len(gains) > 0.02, gains
