"""Recipes with a chain inside the guide: trained on digits, beside themselves untrained and without the chain."""

import math
import time

import pytest

import ppl_vae as pv


def without_chain(vae):
    """The same model with the guide that the chain starts from."""
    plain = pv.VAE(vae.event_shape, vae.latent_dim)
    plain.model.load_state_dict(vae.model.state_dict())
    own = vae.guide.state_dict()
    heads = {name.replace("posterior.of.", "posterior."): value for name, value in own.items()}
    plain.guide.load_state_dict({name: heads[name] for name in plain.guide.state_dict()})
    return plain.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dais-vae", "hamiltonian-vae"])
def test_it_beats_the_untrained_model_by_20_nats_and_its_bound_is_not_below_that_of_the_guide_it_wraps(name):
    """On held-out digits, in less than a minute of one core; the two bounds within 3 standard errors or better."""
    ds = pv.load_dataset("digits", binarize="threshold")
    recipe = pv.make(name, ds.event_shape)
    before = pv.evaluate(recipe.vae, ds.test.x).elbo.mean()
    start = time.process_time()
    pv.fit(recipe, ds.train.x, epochs=12, lr=5e-3, device="cpu", compile=False, progress=False)
    assert time.process_time() - start < 60
    moved = pv.evaluate(recipe.vae, ds.test.x, num_particles=16).elbo
    wrapped = pv.evaluate(without_chain(recipe.vae), ds.test.x, num_particles=16).elbo
    assert moved.mean() > before + 20
    gained = moved - wrapped
    assert gained.mean() > -3 * gained.std() / math.sqrt(len(gained)), gained.mean()
