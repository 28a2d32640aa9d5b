"""Multimodal recipes on the two halves of digits: each beats itself untrained, and does what it is for."""

import time

import pytest
import torch
from sklearn.linear_model import LogisticRegression

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_coherence
from ppl_vae.errors import DataError, ModelError

NAMES = ("mvae", "mmvae", "mopoe-vae", "mmvae-plus", "jnf")
EPOCHS = 12


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits", binarize="threshold")


@pytest.fixture(scope="module")
def trained(digits):
    found = {}

    def get(name):
        if name not in found:
            recipe = pv.make(name, digits.event_shape)
            before = inf.conditional_evidence(recipe.vae, digits.test.x, recipe.vae.blocks.hidden(("x2",)), 100)
            start, clock = pv.evaluate(recipe.vae, digits.test.x), time.process_time()
            pv.fit(recipe, digits.train.x, epochs=EPOCHS, lr=5e-3, device="cpu", compile=False, progress=False)
            found[name] = recipe.vae, time.process_time() - clock, start, before
        return found[name]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_beats_itself_untrained_on_whole_digits_and_on_one_half_given_the_other(name, trained, digits):
    """By more than 12 nats of the ELBO, and 5 of log p(lower | upper); in less than a minute of one core."""
    vae, seconds, start, before = trained(name)
    assert seconds < 60
    assert pv.evaluate(vae, digits.test.x).elbo.mean() > start.elbo.mean() + 12
    after = inf.conditional_evidence(vae, digits.test.x, vae.blocks.hidden(("x2",)), 100)
    assert after.mean > before.mean + 5


@pytest.fixture(scope="module")
def judges(digits):
    blocks = pv.make("mvae", digits.event_shape).vae.blocks
    halves = blocks.split(digits.train.x)
    y = digits.train.y.numpy()
    return {n: LogisticRegression(max_iter=500).fit(part.flatten(1).numpy(), y) for n, part in halves.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_of_the_lower_half_fits_the_upper_one(name, trained, digits, judges):
    """Three times chance and more; chance is one in ten."""
    vae = trained(name)[0]
    found = run_coherence(vae, judges, digits.test.x, digits.test.y, 5, 500)
    assert found["conditional"].sel(modality="x2") > 0.3
    assert 0 < found["joint"] <= 1
    assert (found["accuracy"] > found["conditional"]).all()
    assert found.identical(run_coherence(vae, judges, digits.test.x, digits.test.y, 5, 500))


@pytest.mark.slow
def test_private_latents_hold_nothing_that_the_other_half_knows(trained, digits):
    """MMVAE+: draws of the lower half differ where its private latents do, at the same shared ones."""
    vae = trained("mmvae-plus")[0]
    z = vae.encode(digits.test.x[:50]).mean
    other = z.clone()
    own = slice(vae.shared_dim + vae.private_dim, vae.shared_dim + 2 * vae.private_dim)
    other[:, own] += 1.5
    change = (vae.decode(other).mean - vae.decode(z).mean).abs().mean(0)[0]
    assert change[:4].max() == 0
    assert change[4:].mean() > 0


def test_coherence_is_one_of_a_classifier_that_always_says_the_class_and_refusals_name_the_modality(digits):
    vae = pv.make("mvae", digits.event_shape).vae.eval()

    class Always:
        def predict(self, x):
            return [7] * len(x)

    x, y = digits.test.x[:20], torch.full((20,), 7)
    judges = {"x1": Always(), "x2": Always()}
    found = run_coherence(vae, judges, x, y, 2, 10)
    assert (found[["conditional", "accuracy", "joint"]] == 1).all().to_array().all()
    assert (found[["conditional_stderr", "joint_stderr"]] == 0).all().to_array().all()
    assert (run_coherence(vae, judges, x, y - 1, 2, 10)["conditional"] == 0).all()
    with pytest.raises(ModelError, match="modality 'x2' has no classifier"):
        run_coherence(vae, {"x1": Always()}, x, y)
    with pytest.raises(ModelError, match="model of several modalities, got VAE"):
        run_coherence(pv.VAE(digits.event_shape, 2), judges, x, y)
    with pytest.raises(DataError, match="expected one class for each of 20 data, two or more, found 19"):
        run_coherence(vae, judges, x, y[1:])


def test_shares_and_their_errors_are_those_of_a_known_split(digits):
    """A judge that sees the true class in 3 of 4 data, whatever is drawn: 0.75, with the error of a share of 20."""
    recipe = pv.make("mvae", digits.event_shape)

    class Own:
        def predict(self, x):
            return [int(n % 4 != 0) for n in range(len(x))]

    x, y = digits.test.x[:20], torch.ones(20, dtype=torch.long)
    found = run_coherence(recipe, {"x1": Own(), "x2": Own()}, x, y, 3, 40)
    assert found["conditional"].values.tolist() == [0.75, 0.75]
    assert found["conditional_stderr"].values == pytest.approx((0.75 * 0.25 / 19) ** 0.5)
    assert found["joint"] == 1
