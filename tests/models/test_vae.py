"""The constructor's and the methods' own errors, and what they accept."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import DataError, ModelError
from ppl_vae.networks import architecture


@pytest.mark.parametrize("latent_dim", [0, -1, 2.0, "2", None])
def test_latent_dim_must_be_a_positive_integer(latent_dim):
    with pytest.raises(ModelError, match=f"latent_dim must be an integer of at least 1, got {latent_dim!r}"):
        pv.VAE((4,), latent_dim)


@pytest.mark.parametrize("event_shape", [(), (0,), (1, -8, 8), (1.5,), "abc", ("4",), 28, None])
def test_event_shape_must_be_positive_integers(event_shape):
    with pytest.raises(ModelError, match="event_shape must be positive integers such as"):
        pv.VAE(event_shape, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "con"}, "unknown network 'con'; did you mean 'conv'"),
        ({"likelihood": "bernouli-relaxed"}, "unknown likelihood.*did you mean 'bernoulli-relaxed'"),
        ({"prior": "standrad"}, "unknown prior.*did you mean 'standard'"),
        ({"posterior": "full-covarience"}, "unknown posterior.*did you mean 'full-covariance'"),
        ({"likelihood": "zzz"}, "unknown likelihood 'zzz'. Known: bernoulli, bernoulli-relaxed, beta, categor"),
    ],
)
def test_unknown_names_come_with_the_nearest_known_one(options, message):
    with pytest.raises(ModelError, match=message):
        pv.VAE((1, 8, 8), 2, **options)


@pytest.mark.parametrize("x", [torch.zeros(3, 5), torch.zeros(4), torch.zeros(3, 1, 4), torch.tensor(0.0)])
@pytest.mark.parametrize("use", ["encode", "reconstruct", "model", "guide"])
def test_data_of_another_shape_are_refused_at_the_site(use, x):
    with pytest.raises(ModelError, match=r"site 'x': expected data of shape \[N, 4\], got \["):
        getattr(pv.VAE((4,), 2), use)(x)


@pytest.mark.parametrize("z", [torch.zeros(3, 3), torch.zeros(2), torch.zeros(3, 1)])
def test_codes_of_another_shape_are_refused_at_the_site(z):
    with pytest.raises(ModelError, match=r"site 'z': expected codes of shape \[N, 2\], got \["):
        pv.VAE((4,), 2).decode(z)


def test_model_needs_data_or_a_size():
    with pytest.raises(ModelError, match="model needs data x, or size="):
        pv.VAE((4,), 2).model()


def test_numpy_arrays_and_lists_go_in_as_tensors_do():
    vae, x = pv.VAE((2, 2), 2), np.random.default_rng(0).random((3, 2, 2))
    expected = vae.reconstruct(torch.tensor(x, dtype=torch.float32))
    assert torch.equal(vae.reconstruct(x), expected)
    assert torch.equal(vae.reconstruct(x.tolist()), expected)
    assert torch.equal(vae.decode(np.zeros((1, 2))).mean, vae.decode(torch.zeros(1, 2)).mean)


def test_reconstruction_is_the_mean_of_the_likelihood_at_the_mean_of_the_guide():
    vae = pv.VAE((4,), 2)
    x = torch.rand(3, 4)
    z = vae.guide.posterior.loc_head(vae.guide.encoder(x))
    expected = torch.sigmoid(vae.model.decoder(z)).detach()
    torch.testing.assert_close(vae.reconstruct(x), expected)


def test_without_a_seed_the_current_stream_is_taken():
    torch.manual_seed(4)
    first, second = pv.VAE((4,), 2, seed=None), pv.VAE((4,), 2, seed=None)
    torch.manual_seed(4)
    again = pv.VAE((4,), 2, seed=None)
    weight = first.guide.posterior.loc_head.weight
    assert torch.equal(weight, again.guide.posterior.loc_head.weight)
    assert not torch.equal(weight, second.guide.posterior.loc_head.weight)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_interpolation_has_as_many_steps_as_asked(steps):
    vae = pv.VAE((4,), 2)
    assert vae.interpolate(torch.zeros(3, 4), torch.ones(3, 4), num_steps=steps).shape == (steps, 3, 4)


def test_samples_with_noise_are_draws_and_not_means():
    vae = pv.VAE((1, 6), 2)
    noisy, means = vae.sample(200, with_noise=True), vae.sample(200)
    assert set(noisy.unique().tolist()) == {0.0, 1.0}
    assert len(means.unique()) > 100
    # Both have the same expectation over the prior: 1200 pixels, 4 standard errors of a difference of means.
    assert abs((noisy.mean() - means.mean()).item()) < 4 * (0.25 / 1200) ** 0.5


def test_a_shape_may_come_from_numpy():
    vae = pv.VAE(np.array([4]), 1, likelihood="gaussian")
    assert vae.event_shape == (4,)
    assert all(type(n) is int for n in vae.config["event_shape"])


@pytest.mark.parametrize("use", ["encode", "reconstruct"])
def test_infinite_data_are_refused_at_the_site(use):
    vae = pv.VAE((4,), 1, likelihood="gaussian")
    with pytest.raises(DataError, match="site 'x': 1 of 8 values are infinite"):
        getattr(vae, use)([[0.0, 1.0, 2.0, 3.0], [0.0, float("-inf"), 2.0, 3.0]])


def test_a_number_of_draws_is_whole():
    with pytest.raises(ModelError, match=r"num_particles must be an integer of at least 1, got 1\.5"):
        pv.evaluate(pv.VAE((4,), 1, likelihood="gaussian"), torch.zeros(3, 4), num_particles=1.5)


def test_a_seed_draws_the_encoder_first():
    """Otherwise every seed would give other weights than it gave before."""
    vae = pv.VAE((4,), 2, network="mlp", seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = architecture("mlp").encoder((4,))
    for name, weight in encoder.state_dict().items():
        assert torch.equal(vae.guide.encoder.state_dict()[name], weight)
