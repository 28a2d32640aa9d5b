"""The point of the semi-supervised VAE, on the digits: with 100 labels it beats a classifier on the same labels.

Images of 0 and 1 under a Bernoulli, cut at a half once for all, so that everybody sees the same. The rivals see the
100 labelled images alone: M2's own classifier from the same initial weights, with its noise and without, by Adam
until it makes no mistake on them, and a logistic regression. M2 is compared with the best of the three on each draw
of labels. All are judged on 500 held-out digits. The settings of both sides were chosen with other draws of labels,
by the training digits without labels: no held-out one was looked at. Grey images have a test of their own.
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

BATCH_SIZE, HELD_OUT = 64, 500
# Labels are eight in a hundred; repeated four times they are a quarter of every batch.
REPEATED = 4
# With the labelled data alone. Whoever starts with all of them lets the classes be claimed before they are known.
FIRST_STEPS = 200
CLASSIFIER_STEPS = 600
# Grey pixels have more to see for everybody, and less to lose by noise.
SMALL = {"name": "mlp", "hidden": (128,), "activation": "relu"}
GREY = {
    "likelihood": {"name": "gaussian", "sigma": 0.25},
    "classifier": {"name": "denoising", "of": SMALL, "noise": "gaussian", "level": 0.2},
}


def made(seed, **parts):
    return pv.make("semi-supervised-vae", (1, 8, 8), seed=seed, **parts)


@torch.no_grad()
def accuracy(vae, split):
    return (vae.classify(split.x).logits.argmax(-1) == split.y).float().mean().item()


def labelled(ds, seed):
    few = hide_labels(ds.train, 100, seed=seed)
    return Split(ds.train.x[few.y != -1], ds.train.y[few.y != -1])


def semi_supervised(ds, seed, epochs, **parts):
    """The recipe, trained on the labelled data and then on all, and the seconds of the processor that it took."""
    recipe = made(seed, **parts)
    few = repeat_labelled(hide_labels(ds.train, 100, seed=seed), REPEATED)
    falling = inf.schedules.cosine(epochs * math.ceil(len(few) / BATCH_SIZE))
    options = {"device": "cpu", "progress": False, "seed": seed}
    started = time.process_time()
    pv.fit(recipe, labelled(ds, seed), epochs=FIRST_STEPS, batch_size=100, **options)
    pv.fit(recipe, few, epochs=epochs, batch_size=BATCH_SIZE, schedule=falling, **options)
    return recipe, time.process_time() - started


def trained_alone(known, seed, noise, **parts):
    """M2's classifier on the labelled data alone, with or without the noise that it sees them through."""
    vae = made(seed, **parts).vae.train(noise)
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(vae.guide.parameters(), lr=1e-3)
    for _ in range(CLASSIFIER_STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(vae.classify(known.x).logits, known.y).backward()
        optimizer.step()
    assert accuracy(vae.eval(), known) == 1
    return vae


def classifiers(ds, seed, **parts):
    """Held-out accuracies of the three classifiers on the labelled data alone."""
    known = labelled(ds, seed)
    linear = LogisticRegression(max_iter=5000).fit(known.x.flatten(1), known.y)
    return {
        "network": accuracy(trained_alone(known, seed, noise=False, **parts), ds.test),
        "network with noise": accuracy(trained_alone(known, seed, noise=True, **parts), ds.test),
        "linear": linear.score(ds.test.x.flatten(1), ds.test.y),
    }


def divided(ds):
    """1297 to train on, 500 held out; the data set's own test digits, by which much was tried, are trained on."""
    order = torch.from_numpy(np.random.default_rng(2024).permutation(len(ds.train)))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    train = Split(torch.cat([ds.train.x[rest], ds.test.x]), torch.cat([ds.train.y[rest], ds.test.y]))
    return dataclasses.replace(ds, train=train, test=Split(ds.train.x[held_out], ds.train.y[held_out]))


def gains(ds, **parts):
    """Over the best of the classifiers, at five seeds of labels, weights and batches; a minute of training each."""
    found = []
    for seed in range(5):
        recipe, seconds = semi_supervised(ds, seed, epochs=160, **parts)
        found.append(accuracy(recipe.vae, ds.test) - max(classifiers(ds, seed, **parts).values()))
        assert seconds < 60
    return np.array(found)


@pytest.fixture(scope="module")
def digits():
    return divided(pv.load_dataset("digits", binarize="threshold"))


@pytest.fixture(scope="module")
def trained(digits):
    return semi_supervised(digits, seed=0, epochs=60)


@pytest.mark.slow
def test_a_hundred_labels_and_the_unlabelled_rest_beat_the_hundred_labels(trained, digits):
    """By more than 2 points of accuracy over the best of the three, at one seed and less than half of the training.

    Measured: 90.0% against 83.6% of the network, 86.4% with noise and 85.6% of the linear one; one standard error
    of each is 1.5 points.
    """
    found, rivals = accuracy(trained[0].vae, digits.test), classifiers(digits, seed=0)
    assert min(rivals.values()) > 0.8
    assert found > max(rivals.values()) + 0.02, (found, rivals)


@pytest.mark.slow
def test_it_learns_to_generate_along(trained, digits):
    """More than 24 nats above itself untrained in the bound on held-out log p(x), within a minute.

    Measured: -17.9 nats per datum after -45.5.
    """
    recipe, seconds = trained
    before = inf.evaluate(made(0).vae, digits.test.x).elbo.mean()
    assert inf.evaluate(recipe.vae, digits.test.x).elbo.mean() > before + 24
    assert seconds < 60


@pytest.mark.slow
def test_the_class_that_is_asked_for_is_what_is_drawn(trained, digits):
    """A logistic regression on all training labels tells the class of at least nine in ten drawn digits."""
    judge = LogisticRegression(max_iter=5000).fit(digits.train.x.flatten(1), digits.train.y)
    y = torch.arange(10).repeat(30)
    torch.manual_seed(0)
    drawn = trained[0].vae.sample(300, y=y)
    assert judge.score(drawn.flatten(1), y) > 0.9


@pytest.mark.slow
def test_an_analogy_is_of_the_class_asked_for_in_the_style_of_the_datum(trained, digits):
    """Told by the same judge. In its own class a datum is nearest to its own code's image in half of all cases.

    Measured: 65% of sixty data; chance is one in sixty.
    """
    vae, x, own = trained[0].vae, digits.test.x[:60], digits.test.y[:60]
    analogies = vae.analogies(x, own).flatten(2)
    judge = LogisticRegression(max_iter=5000).fit(digits.train.x.flatten(1), digits.train.y)
    y = torch.arange(10).repeat_interleave(60)
    assert judge.score(analogies.flatten(0, 1), y) > 0.9
    distance = torch.cdist(x.flatten(1)[:, None], analogies[own])[:, 0]
    assert (distance.argmin(1) == torch.arange(60)).float().mean() > 30 / 60


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["labelled", "unlabelled"])
def test_data_with_labels_only_or_without_any_train_too(labels, digits):
    """The held-out bound rises by more than 15 nats in two epochs. Measured: 20."""
    y = digits.train.y if labels == "labelled" else torch.full_like(digits.train.y, -1)
    ds = dataclasses.replace(digits, train=dataclasses.replace(digits.train, y=y))
    recipe = made(0)
    before = inf.evaluate(recipe.vae, digits.test.x).elbo.mean()
    pv.fit(recipe, ds, epochs=2, device="cpu", progress=False)
    assert inf.evaluate(recipe.vae, digits.test.x).elbo.mean() > before + 15


@pytest.mark.slow
def test_it_beats_the_classifiers_by_more_than_five_points(digits):
    """In the mean over seeds of labels, weights and batches, over the best of the three.

    Measured: 6.1 points, standard error 0.5 over the five; from 4.4 to 7.4: 92.4% against 86.3%. A support vector
    machine with Gaussian kernels, which is not among the three, has 87.6% in the mean.
    """
    found = gains(digits)
    assert found.mean() > 0.05, found
    assert found.min() > 0, found


@pytest.mark.slow
def test_on_grey_digits_it_beats_them_too():
    """By more than 2.5 points: here the hundred labels alone give more than nine in ten.

    Measured: 3.8 points, standard error 0.4 over the five; from 2.4 to 4.6: 95.8% against 92.0%.
    """
    found = gains(divided(pv.load_dataset("digits")), **GREY)
    assert found.mean() > 0.025, found
    assert found.min() > 0, found
