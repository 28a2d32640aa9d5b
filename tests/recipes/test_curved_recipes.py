"""Codes on spheres, tori and balls: what each paper is about, on data small enough to train on here."""

import math

import pytest
import torch

import ppl_vae as pv

RECIPES = ("hyperspherical-vae", "power-spherical-vae", "poincare-vae", "torus-vae")


def train(recipe, data, epochs, **options):
    return pv.fit(recipe, data, epochs=epochs, device="cpu", progress=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_it_beats_the_untrained_model_on_digits_by_20_nats_and_uses_its_code(name):
    ds = pv.load_dataset("digits", binarize="threshold")
    recipe = pv.make(name, ds.event_shape)
    before = pv.evaluate(recipe.vae, ds.test.x).elbo.mean()
    train(recipe, ds, 60, lr=3e-3)
    after = pv.evaluate(recipe.vae, ds.test.x)
    assert after.elbo.mean() > before + 20
    assert after.kl.mean() > 1


def on_a_ring(n=600):
    """Points of a noisy circle in R^6 and their angles: a closed way, which no line can follow without a cut."""
    generator = torch.Generator().manual_seed(0)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    plane, _ = torch.linalg.qr(torch.randn(6, 2, generator=generator))
    x = 3 * torch.stack([angle.cos(), angle.sin()], -1) @ plane.mT
    return x + 0.1 * torch.randn(n, 6, generator=generator), angle


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dim"), [("power-spherical-vae", 2)], ids=str)
def test_a_closed_way_is_recovered_without_a_cut(name, dim):
    """The code's angle follows the true one around, up to direction and start: circular correlation above 0.99."""
    x, angle = on_a_ring()
    recipe = pv.make(name, (6,), latent_dim=dim, likelihood={"name": "gaussian", "sigma": 0.1})
    train(recipe, x, 150, lr=3e-3)
    code = recipe.vae.encode(x).mean.detach()
    found = code[:, 0] if dim == 1 else torch.atan2(code[:, 1], code[:, 0])
    turned = [torch.exp(1j * (found - sign * angle).to(torch.complex64)).mean().abs() for sign in (1, -1)]
    assert max(turned) > 0.99
