"""Group and adaptive group VAEs: the guides' formulas, the VAE of one member, and what is refused."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae import models
from ppl_vae.errors import ModelError
from ppl_vae.models.groups.ada_group_vae import shared_dimensions
from ppl_vae.models.groups.shared_content_vae import gaussian_evidence
from ppl_vae.networks import MLP

SHAPE = (2, 1, 3, 3)
SMALL = {"network": MLP((8,))}


def pairs(n=5, shape=SHAPE, seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)).round()


def test_evidence_is_the_product_of_the_members_gaussians():
    """Against the sum of log densities on a grid, normalised; and over the whole range of scales."""
    loc, scale = torch.tensor([[[0.3], [-1.0], [0.8]]]), torch.tensor([[[0.5], [2.0], [0.9]]])
    z = torch.linspace(-6, 6, 4001).double()
    log_density = sum(torch.distributions.Normal(m, s).log_prob(z) for m, s in zip(loc[0], scale[0], strict=True))
    weight = log_density.softmax(0)
    mean = (weight * z).sum()
    q = gaussian_evidence(loc, scale)
    torch.testing.assert_close(q.mean.squeeze().double(), mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(q.variance.squeeze().double(), (weight * (z - mean) ** 2).sum(), atol=1e-6, rtol=0)
    for power in (-20.0, 20.0):
        extreme = gaussian_evidence(torch.ones(1, 3, 1), torch.full((1, 3, 1), power).exp())
        torch.testing.assert_close(extreme.stddev, torch.tensor([[power]]).exp() / 3**0.5)
        assert extreme.mean.item() == pytest.approx(1)


def test_dimensions_below_the_middle_divergence_are_shared_and_averaged():
    """Divergences of 0, 0.5 and 2 nats: a mean apart by d standard deviations is d^2 / 2; the middle is 1."""
    loc = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]]])
    scale = torch.ones(1, 2, 3)
    assert shared_dimensions(loc, scale).tolist() == [[True, True, False]]
    vae, x = models.AdaGroupVAE(SHAPE, latent_dim=4, **SMALL), pairs()
    q, alone = vae.encode(x), vae.member.encode(x.flatten(0, 1))
    loc, variance = alone.mean.unflatten(0, (5, 2)), alone.variance.unflatten(0, (5, 2))
    shared = vae.shared(x)
    assert 0 < shared.double().mean() < 1
    for own, found in ((loc, q.mean), (variance, q.variance)):
        expected = torch.where(shared[:, None], own.mean(1, keepdim=True), own)
        torch.testing.assert_close(found, expected)


def test_copies_of_one_image_share_their_codes_and_scales_may_be_extreme():
    vae = models.AdaGroupVAE(SHAPE, latent_dim=4, **SMALL)
    x = pairs()[:, :1].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(vae.encode(x).mean, vae.member.encode(x[:, 0]).mean[:, None].expand(-1, 2, -1))
    loc = torch.tensor([[[0.0, 0.0], [1e3, 1.0]]])
    scale = torch.tensor([[[20.0, 0.0], [-20.0, 0.0]]]).exp()
    assert shared_dimensions(loc, scale).tolist() == [[False, True]]


@pytest.mark.parametrize("kind", [models.AdaGroupVAE, models.SharedContentVAE])
def test_the_vae_of_a_member_has_the_pairs_weights(kind, tmp_path):
    """It is a VAE like any other, in the pair's own mode, and a stored pair has the same."""
    pair, x = kind(SHAPE, **SMALL), pairs()
    pair.eval()
    member = pair.member
    assert isinstance(member, pv.VAE)
    assert not member.training
    assert {id(p) for p in member.parameters()} == {id(p) for p in pair.parameters()}
    decoded = member.decode(member.encode(x[:, 0]).mean).mean
    assert decoded.shape == (5, 1, 3, 3)
    pair.save(tmp_path / "pair")
    loaded = pv.load(tmp_path / "pair").member
    assert torch.equal(loaded.decode(loaded.encode(x[:, 0]).mean).mean, decoded)
    assert pv.evaluate(member, x[:, 0]).elbo.shape == (5,)


def test_a_group_of_one_has_the_members_own_posterior_and_more_members_narrow_the_content():
    vae, x = models.SharedContentVAE((3, 4), 2, 1, **SMALL), pairs(6, (3, 4))
    alone = vae.member.encode(x[:, 0])
    torch.testing.assert_close(vae.encode(x[:, :1]).mean, alone.mean[:, :2])
    torch.testing.assert_close(vae.styles(x[:, :1]).mean[:, 0], alone.mean[:, 2:])
    widths = [vae.encode(x[:, :size]).stddev for size in (1, 2, 3)]
    assert (widths[0] > widths[1]).all()
    assert (widths[1] > widths[2]).all()
    assert vae.decode(vae.encode(x).mean, vae.styles(x).mean).event_shape == (3, 4)


def test_counts_start_at_the_rates_of_the_members():
    x = torch.distributions.Poisson(torch.tensor([1.0, 1000.0])).sample((40, 2))
    vae = models.AdaGroupVAE((2, 2), latent_dim=2, likelihood="poisson", **SMALL)
    vae.start_untrained(x)
    means = vae.reconstruct(x).mean((0, 1))
    assert 0.3 < means[0] < 3
    assert 300 < means[1] < 3000


def test_other_shapes_are_refused_by_name():
    with pytest.raises(ModelError, match=r"that of a group, \(G, \*shape\) such as \(2, 1, 64, 64\), got \(4,\)"):
        models.SharedContentVAE((4,))
    with pytest.raises(ModelError, match=r"that of a pair, .*, got \(1, 8, 8\); ppl_vae.data.factor_groups makes"):
        models.AdaGroupVAE((1, 8, 8))
    ada, group = models.AdaGroupVAE(SHAPE, latent_dim=3, **SMALL), models.SharedContentVAE(SHAPE, 2, 1, **SMALL)
    with pytest.raises(ModelError, match=r"site 'z': expected codes of shape \[N, 2, 3\], got \[5, 3\]"):
        ada.decode(torch.zeros(5, 3))
    with pytest.raises(ModelError, match=r"site 'content': expected codes of shape \[5, 2\], got \[5, 1\]"):
        group.decode(torch.zeros(5, 1), torch.zeros(5, 2, 1))
    with pytest.raises(ModelError, match=r"site 'style': expected codes of shape \[N, 2, 1\]"):
        group.decode(torch.zeros(5, 2), torch.zeros(5, 1))
    with pytest.raises(ModelError, match="expected data of shape"):
        group.encode(torch.zeros(5, 2, 1, 3, 4))
    own = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3)), torch.nn.Linear(3, 5))
    wrong = models.AdaGroupVAE(SHAPE, latent_dim=3, network=own)
    with pytest.raises(ModelError, match="the decoder gave"):
        pv.evaluate(wrong, pairs())
