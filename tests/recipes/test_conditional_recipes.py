"""What conditional-vae and completion-vae are for, on the digits; each test states its margin."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

import ppl_vae as pv

pytestmark = pytest.mark.slow

EPOCHS, RATE = 30, 3e-3
SMALL = {"network": {"name": "mlp", "hidden": (128,), "activation": "relu"}}


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits", binarize="dynamic")


def trained(recipe, data):
    """The model with its held-out ELBO per datum before and after; in less than a minute."""
    pair, test = getattr(recipe, "vae", recipe), data.test
    before = pv.evaluate(pair, test.x, y=test.y).elbo.mean()
    result = pv.fit(recipe, data, epochs=EPOCHS, lr=RATE, device="cpu", progress=False)
    assert result.history["seconds"].sum() < 60
    return pair, before, pv.evaluate(pair, test.x, y=test.y, num_particles=8).elbo


@pytest.fixture(scope="module")
def conditional(digits):
    return trained(pv.make("conditional-vae", digits.event_shape, **SMALL), digits)


@pytest.fixture(scope="module")
def completion(digits):
    return trained(pv.make("completion-vae", digits.event_shape, **SMALL), digits)


def test_conditional_vae_beats_itself_untrained(conditional):
    """By more than 20 nats per held-out digit."""
    _, before, after = conditional
    assert after.mean() > before + 20


def test_completion_vae_beats_itself_untrained(completion):
    """By more than 15 nats per held-out digit, over its hidden pixels."""
    _, before, after = completion
    assert after.mean() > before + 15


def test_the_true_class_explains_a_digit_better_than_another(conditional, digits):
    """By more than 5 nats in the mean, and 4 paired standard errors."""
    pair, _, _ = conditional
    x, y = digits.test.x, digits.test.y
    gain = pv.evaluate(pair, x, y=y).elbo - pv.evaluate(pair, x, y=(y + 1) % 10).elbo
    assert gain.mean() > 5
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5


def test_samples_of_a_class_are_recognised_as_it(conditional, digits):
    """Binary draws, by a classifier of real digits: chance is 10%, and of real ones it recognises some 80%."""
    pair, _, _ = conditional
    train, test = digits.train, digits.test
    classifier = LogisticRegression(max_iter=2000).fit(train.x.flatten(1).round(), train.y)
    assert classifier.score(test.x.flatten(1), test.y) > 0.75
    y = torch.arange(10).repeat(50)
    torch.manual_seed(0)
    assert classifier.score(pair.sample(500, with_noise=True, y=y).flatten(1), y) > 0.7


def test_a_code_completes_digits_better_than_the_baseline_network(completion, digits):
    """By more than half a nat per held-out digit and 4 paired standard errors, though an ELBO is only a bound."""
    _, _, elbo = completion
    baseline = pv.models.CompletionBaseline(digits.event_shape, visible=1, **SMALL)
    _, _, log_likelihood = trained(baseline, digits)
    gain = elbo - log_likelihood
    assert gain.mean() > 0.5
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5


def test_completions_differ_where_the_seen_quadrant_leaves_a_choice(completion, digits):
    """Their hidden pixels spread by codes alone; the seen ones are the data's."""
    pair, _, _ = completion
    x, hidden = digits.test.x[:50], pair.model.likelihood.hidden
    torch.manual_seed(0)
    found = pair.complete(x, 40)
    assert found[..., hidden.squeeze(0)].std(0).mean() > 0.05
    assert torch.equal(found[:, :, ~hidden], x[:, ~hidden].expand(40, -1, -1))


def test_both_stand_in_one_comparison_with_the_plain_vae(digits):
    """The conditional bound is on log p(x|y), so knowing the class pays."""
    few = {"epochs": 8, "lr": RATE, "device": "cpu", "progress": False}
    recipes = [(name, name, SMALL) for name in ("vae", "conditional-vae", "completion-vae")]
    table = pv.compare_recipes(recipes, digits, seeds=(0,), num_particles=2, num_samples=10, **few)
    elbo = {name: table["elbo"].sel(recipe=name).item() for name, *_ in recipes}
    assert elbo["conditional-vae"] > elbo["vae"] + 1
    assert (table["log_evidence"] >= table["elbo"] - 1).all()
