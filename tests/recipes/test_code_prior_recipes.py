"""Recipes of two stages on digits: each beats itself untrained, and its prior the N(0, I) of the first stage."""

import math
import time

import pytest

import ppl_vae as pv
from ppl_vae.models import with_new_prior
from ppl_vae.recipes.code_priors import CODE_PRIORS


@pytest.mark.slow
@pytest.mark.parametrize("name", CODE_PRIORS)
def test_it_beats_the_untrained_model_by_20_nats_and_n_0_i_by_a_significant_gain(name):
    """On held-out digits, in less than a minute of one core. Model and guide are the same beside both priors.

    With a fifth of the KL in the first stage, which leaves to the prior what it is for: at its full weight the
    codes of digits are so near to N(0, I) that a diffusion has nothing to gain (0.02 +- 0.03 nats in 50 epochs).
    """
    ds = pv.load_dataset("digits", binarize="threshold")
    recipe = pv.make(name, ds.event_shape, first_beta=0.2)
    before = pv.evaluate(recipe.vae, ds.test.x).elbo.mean()
    start = time.process_time()
    pv.fit(recipe, ds.train.x, epochs=25, lr=5e-3, device="cpu", compile=False, progress=False)
    assert time.process_time() - start < 60
    learned = pv.evaluate(recipe.vae, ds.test.x, num_particles=16).elbo
    standard = pv.evaluate(with_new_prior(recipe.vae, "standard"), ds.test.x, num_particles=16).elbo
    assert learned.mean() > before + 20
    gained = learned - standard
    assert gained.mean() - 3 * gained.std() / math.sqrt(len(gained)) > 0.2, gained.mean()
