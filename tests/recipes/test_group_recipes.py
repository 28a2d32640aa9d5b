"""What pairs and groups that share factors are for: codes that no unsupervised method could tell apart."""

import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.data import Split, factor_groups

pytestmark = pytest.mark.slow

LEVELS, NOISE = 8, 0.3


def mixed(seed=0):
    """Three independent factors of variance one behind a rotation: [512, 3] data, [512, 3] factors.

    Every rotation of the codes explains these data as well, so that nothing but pairs can find the factors.
    """
    values = torch.linspace(-1, 1, LEVELS)
    factors = torch.cartesian_prod(*[values / values.std(correction=0)] * 3)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    return Split(2 * factors @ rotation.mT, factors=factors)


def purity(vae, split):
    """The mean over codes of the largest squared correlation with a factor: 1 where each code is one factor."""
    codes = vae.encode(split.x).mean.detach()
    table = torch.corrcoef(torch.cat([codes, split.factors], 1).mT)[:3, 3:].square()
    return table.amax(1).mean().item()


def trained(name, x, seed):
    recipe = pv.make(
        name, tuple(x.shape[1:]), latent_dim=3, network=(nn.Linear(3, 16), nn.Linear(3, 3)), seed=seed,
        likelihood={"name": "gaussian", "sigma": NOISE},
    )  # fmt: skip
    pv.fit(recipe, x, epochs=12, batch_size=64, lr=1e-2, seed=seed, device="cpu", progress=False)
    return recipe.vae


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_pairs_that_share_factors_find_them_where_single_data_cannot(seed):
    """Above 0.9 of pairs, and at least 0.05 less of single data, at as many steps."""
    split = mixed()
    pairs = factor_groups(split, 2048, seed=0).x
    found = purity(trained("ada-gvae", pairs, seed).member, split)
    blind = purity(trained("vae", split.x.repeat(4, 1), seed), split)
    assert found > 0.9, (found, blind)
    assert blind < found - 0.05, (found, blind)


def test_the_content_of_a_group_holds_what_its_members_share_and_the_style_the_rest():
    """Groups share the first factor: it is read from the content, the others from the style, and not crosswise."""
    split = mixed()
    groups = factor_groups(split, 2048, shared="factor 0", seed=0).x
    recipe = pv.make(
        "group-vae", (2, 3), content_dim=1, style_dim=2, network=(nn.Linear(3, 16), nn.Linear(3, 3)),
        likelihood={"name": "gaussian", "sigma": NOISE},
    )  # fmt: skip
    pv.fit(recipe, groups, epochs=12, batch_size=64, lr=1e-2, device="cpu", progress=False)
    codes = recipe.vae.member.encode(split.x).mean.detach()
    explained = [squares(codes[:, part], split.factors) for part in (slice(0, 1), slice(1, 3))]
    content, style = explained
    assert content[0] > 0.95
    assert content[1:].max() < 0.05
    assert style[0] < 0.05
    assert style[1:].min() > 0.9


def squares(codes, factors):
    """The share of each factor's variance that a linear map of the codes explains: [F]."""
    design = torch.cat([codes, torch.ones(len(codes), 1)], 1)
    rest = factors - design @ torch.linalg.lstsq(design, factors).solution
    return 1 - rest.var(0) / factors.var(0)


@pytest.mark.parametrize(("name", "size"), [("ada-gvae", 2), ("group-vae", 3)])
def test_digits_of_one_class_train_by_groups_of_images(name, size):
    """Ten nats per image better on held-out groups than untrained."""
    ds = pv.load_dataset("digits", binarize="threshold")
    groups = factor_groups(ds, 1024, size=size, shared="label").x
    held_out = factor_groups(ds.test, 100, size=size, shared="label", seed=1).x
    recipe = pv.make(name, tuple(groups.shape[1:]), network={"name": "mlp", "hidden": (64,)})
    before = pv.evaluate(recipe.vae, held_out).elbo.mean()
    pv.fit(recipe, groups, epochs=3, batch_size=32, lr=5e-3, device="cpu", progress=False)
    assert pv.evaluate(recipe.vae, held_out).elbo.mean() > before + 10 * size
