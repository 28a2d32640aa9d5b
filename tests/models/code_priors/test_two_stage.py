"""A prior fitted to the codes afterwards: a copy with another density, and nothing else."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.models import with_post_hoc_prior


def clustered(seed=0):
    """A VAE whose guide sends data of three kinds to three places, and its data [150, 4]."""
    vae = pv.VAE((4,), 2, network="mlp", likelihood="gaussian", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    kinds = 8 * torch.randn(3, 4, generator=generator)
    x = kinds.repeat(50, 1) + 0.3 * torch.randn(150, 4, generator=generator)
    with torch.no_grad():
        vae.guide.posterior.loc_head.weight.mul_(3)
        vae.guide.posterior.scale_head.bias.sub_(2)
    return vae, x


@pytest.mark.parametrize("codes", ["draws", "means"])
def test_it_beats_the_standard_normal_in_log_density_of_new_codes(codes):
    vae, x = clustered()
    twin = with_post_hoc_prior(vae, x, num_components=3, codes=codes)
    q = vae.encode(x)
    z = q.sample() if codes == "draws" else q.mean.detach()
    fitted, standard = (model.model.prior().log_prob(z).mean().item() for model in (twin, vae))
    assert fitted > standard + 0.5


def test_its_density_is_scikit_learns_and_it_is_a_copy():
    vae, x = clustered()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    state = torch.get_rng_state()
    twin = with_post_hoc_prior(vae, x, num_components=3, codes="means")
    assert torch.equal(torch.get_rng_state(), state)
    codes = vae.encode(x).mean.detach().double().numpy()
    expected = GaussianMixture(3, covariance_type="diag", random_state=0).fit(codes).score_samples(codes)
    found = twin.model.prior().log_prob(torch.tensor(codes).float()).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert vae.config["prior"] == {"name": "standard"}
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert torch.equal(twin.reconstruct(x), vae.reconstruct(x))


def test_it_is_stored_and_loaded(tmp_path):
    vae, x = clustered()
    twin = with_post_hoc_prior(vae, x, num_components=3)
    twin.save(tmp_path)
    loaded, z = pv.load(tmp_path), torch.randn(5, 2)
    assert loaded.config["prior"] == {"name": "mixture", "num_components": 3}
    assert torch.equal(loaded.model.prior().log_prob(z), twin.model.prior().log_prob(z))


def test_a_seed_gives_the_same_prior():
    vae, x = clustered()
    first, again, other = (with_post_hoc_prior(vae, x, 2, seed=s).model.prior.loc for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_cannot_be_is_refused():
    vae, x = clustered()
    with pytest.raises(ModelError, match="10 components cannot be fitted to 4 data"):
        with_post_hoc_prior(vae, x[:4])
    with pytest.raises(ModelError, match="unknown codes 'mean'; did you mean 'means'"):
        with_post_hoc_prior(vae, x, codes="mean")
    lg = pv.LinearGaussianVAE(torch.randn(4, 2), torch.zeros(4), 1.0)
    with pytest.raises(ModelError, match="'linear-gaussian' model is defined by its prior"):
        with_post_hoc_prior(lg, x)
