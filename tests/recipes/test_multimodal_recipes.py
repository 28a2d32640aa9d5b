"""Multimodal recipes on the two halves of digits: each beats itself untrained, and does what it is for."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics.predictive.coherence import conditional_coherence, joint_coherence
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
            start = pv.evaluate(recipe.vae, digits.test.x)
            result = pv.fit(
                recipe, digits.train.x, epochs=EPOCHS, lr=5e-3, device="cpu", compile=False, progress=False
            )
            found[name] = recipe.vae, result, start, before
        return found[name]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_beats_itself_untrained_on_whole_digits_and_on_one_half_given_the_other(name, trained, digits):
    """By more than 12 nats of the ELBO, and 5 of log p(lower | upper); in less than a minute on a free core."""
    vae, result, start, before = trained(name)
    assert result.history["seconds"].sum() < 120
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
    found = conditional_coherence(vae, judges, digits.test.x, digits.test.y, "x2", 5)
    assert found > 0.3
    assert 0 < joint_coherence(vae, judges, 500) <= 1
    assert found == conditional_coherence(vae, judges, digits.test.x, digits.test.y, "x2", 5)


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
    assert conditional_coherence(vae, judges, x, y, "x1", 2) == 1.0
    assert conditional_coherence(vae, judges, x, y - 1, "x1", 2) == 0.0
    assert joint_coherence(vae, judges, 10) == 1.0
    with pytest.raises(ModelError, match="modality 'x2' has no classifier"):
        joint_coherence(vae, {"x1": Always()}, 10)
    with pytest.raises(ModelError, match="modalities are 'x1', 'x2', found 'x3'"):
        conditional_coherence(vae, judges, x, y, "x3")
    with pytest.raises(DataError, match="expected one class for each of 20 data, found 19"):
        conditional_coherence(vae, judges, x, y[1:], "x1")
