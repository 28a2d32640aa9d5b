"""Codes on spheres, tori and balls: what each paper is about, on data small enough to train on here."""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae.spaces import POINCARE_BALL

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
@pytest.mark.parametrize(
    ("name", "dim"), [("hyperspherical-vae", 2), ("power-spherical-vae", 2), ("torus-vae", 1)], ids=str
)
def test_a_closed_way_is_recovered_without_a_cut(name, dim):
    """The code's angle follows the true one around, up to direction and start: circular correlation above 0.99."""
    x, angle = on_a_ring()
    recipe = pv.make(name, (6,), latent_dim=dim, likelihood={"name": "gaussian", "sigma": 0.1})
    train(recipe, x, 150, lr=3e-3)
    code = recipe.vae.encode(x).mean.detach()
    found = code[:, 0] if dim == 1 else torch.atan2(code[:, 1], code[:, 0])
    turned = [torch.exp(1j * (found - sign * angle).to(torch.complex64)).mean().abs() for sign in (1, -1)]
    assert max(turned) > 0.99


def tree(depth=5, dim=20):
    """Nodes of a binary tree as sums of steps along their way from the root, [63, dim], and their depths."""
    generator = torch.Generator().manual_seed(0)
    level, depths, nodes = torch.zeros(1, dim), [0], [torch.zeros(1, dim)]
    for step in range(1, depth + 1):
        level = level.repeat_interleave(2, 0) + torch.randn(2 * len(level), dim, generator=generator)
        nodes.append(level)
        depths += [step] * len(level)
    return torch.cat(nodes), torch.tensor(depths)


@pytest.mark.slow
def test_the_ball_puts_a_trees_root_inside_and_its_leaves_outside():
    """The rank correlation of depth and distance from the centre (Mathieu et al. 2019, figure 5): above 0.5."""
    from scipy.stats import spearmanr

    nodes, depths = tree()
    generator = torch.Generator().manual_seed(1)
    x = nodes.repeat(20, 1) + 0.1 * torch.randn(20 * len(nodes), nodes.shape[1], generator=generator)
    recipe = pv.make("poincare-vae", (20,), likelihood={"name": "gaussian", "sigma": 0.5})
    train(recipe, x, 60, lr=3e-3)
    code = recipe.vae.encode(nodes).mean.detach()
    distance = POINCARE_BALL.read(code).norm(dim=-1)
    assert spearmanr(distance.numpy(), depths.numpy()).statistic > 0.5
