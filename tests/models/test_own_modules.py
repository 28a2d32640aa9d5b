"""Networks and parts of the user's own, in place of ours."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.models.table import ConvPair


def own_vae(likelihood="bernoulli-relaxed", num_parameters=1, seed=0):
    torch.manual_seed(seed)
    return pv.VAE(ConvPair.event_shape, 2, network=ConvPair.make(num_parameters), likelihood=likelihood, seed=seed)


@pytest.mark.parametrize("num_particles", [1, 2, 5])
@pytest.mark.parametrize("estimator", [inf.MonteCarloKL, inf.AnalyticKL])
def test_particles_pass_a_convolutional_decoder(estimator, num_particles):
    """K particles are the mean of K single ones at the same draws."""
    vae, x = own_vae(), torch.rand(3, *ConvPair.event_shape)
    terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=num_particles)
    assert terms.log_likelihood.shape == (num_particles, 3)
    for k in range(num_particles):
        logits = vae.model.decoder(terms.sites["z"].value[k])
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
        torch.testing.assert_close(terms.log_likelihood[k], -cross_entropy, rtol=1e-4, atol=1e-4)
    estimator(num_particles).per_datum(vae.model, vae.guide, x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in vae.parameters())


def test_vectorised_stock_pyro_passes_a_convolutional_decoder():
    vae, x = own_vae(), torch.rand(3, *ConvPair.event_shape)
    elbo = pyro.infer.Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(1)
    stock = elbo.loss(vae.model, vae.guide, x)
    torch.manual_seed(1)
    assert inf.MonteCarloKL(4).loss(vae.model, vae.guide, x) == pytest.approx(stock, rel=1e-5)


def test_two_parameters_a_pixel_come_as_channels():
    vae = own_vae({"name": "gaussian", "sigma": "per-pixel"}, num_parameters=2)
    z = torch.randn(3, 2)
    p, channels = vae.decode(z), vae.model.decoder(z)
    assert torch.equal(p.mean, channels[:, :1])
    torch.testing.assert_close(p.stddev, 0.01 + nn.functional.softplus(channels[:, 1:]))


def test_a_pair_is_saved_and_loaded_into_a_new_pair(tmp_path):
    vae, x = own_vae(seed=1), torch.rand(3, *ConvPair.event_shape)
    vae.save(tmp_path)
    torch.manual_seed(99)
    loaded = pv.load(tmp_path, network=ConvPair.make())
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))


def test_load_without_the_pair_says_how_to_give_it(tmp_path):
    own_vae().save(tmp_path)
    with pytest.raises(ModelError, match=r"config.json.*'network' was a module of your own.*network=\.\.\."):
        pv.load(tmp_path)


def test_load_with_another_pair_names_the_first_difference(tmp_path):
    own_vae().save(tmp_path)
    encoder, decoder = ConvPair.make()
    encoder[3] = nn.Linear(48, 9)
    with pytest.raises(
        ModelError, match=r"weights.safetensors.*'guide.encoder.3.weight' has shape \[7, 48\].*\[9, 48\]"
    ):
        pv.load(tmp_path, network=(encoder, decoder))


class ShiftedPosterior(pv.models.DiagonalPosterior):
    """A posterior of the user's own that inherits the configuration of one of ours."""

    def forward(self, features):
        q = super().forward(features)
        return dist.Normal(q.mean + 1, q.stddev).to_event(1)


class HalfBernoulli(pv.models.BernoulliLikelihood):
    """A likelihood of the user's own that inherits a name of ours."""

    def forward(self, features, event_dim):
        return super().forward(features / 2, event_dim)


class WidePrior(nn.Module):
    """A prior with a parameter and without ``build`` or ``config``."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([0.5, -0.5]))

    def forward(self):
        return dist.Normal(torch.zeros(2), self.log_scale.exp()).to_event(1)


OWN_PARTS = {"posterior": ShiftedPosterior, "likelihood": HalfBernoulli, "prior": WidePrior}


@pytest.mark.parametrize("part", OWN_PARTS)
def test_a_part_of_the_users_own_is_never_replaced_by_ours_on_load(part, tmp_path):
    vae, x = pv.VAE((5,), 2, **{part: OWN_PARTS[part]()}), torch.rand(4, 5).round()
    vae.save(tmp_path)
    with pytest.raises(ModelError, match=f"'{part}' was a module of your own"):
        pv.load(tmp_path)
    loaded = pv.load(tmp_path, **{part: OWN_PARTS[part]()})
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))


def test_own_prior_is_what_the_codes_are_drawn_from_and_is_trained():
    vae = pv.VAE((5,), 2, prior=WidePrior())
    z = pyro.poutine.trace(vae.model).get_trace(size=4000).nodes["z"]["value"]
    # exp(0.5) and exp(-0.5); a sample standard deviation has relative standard error 1 / sqrt(2 n).
    assert z.std(0).tolist() == pytest.approx([1.6487, 0.6065], rel=4 / (2 * 4000) ** 0.5)
    inf.AnalyticKL().per_datum(vae.model, vae.guide, torch.ones(4, 5)).sum().backward()
    assert vae.model.prior.log_scale.grad.abs().min() > 0


def test_modes_and_random_numbers_of_own_modules_survive_construction():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(5, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    decoder = nn.Linear(2, 5)
    encoder[3].eval()
    before = torch.get_rng_state()
    pv.VAE((5,), 2, network=(encoder, decoder))
    assert [m.training for m in encoder] == [True, True, True, False]
    assert encoder[3].num_batches_tracked == 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(2))
def test_a_seed_makes_the_heads_on_an_own_encoder(seed):
    pair = ConvPair.make()
    first, again = (pv.VAE(ConvPair.event_shape, 2, network=pair, seed=seed) for _ in range(2))
    assert torch.equal(first.guide.posterior.loc_head.weight, again.guide.posterior.loc_head.weight)


def test_decoder_of_another_size_is_refused_at_the_site():
    vae = pv.VAE((5,), 2, network=(nn.Linear(5, 4), nn.Linear(2, 6)))
    with pytest.raises(ModelError, match=r"site 'x': the decoder gave \[?\(?3, 6.*'bernoulli' needs 1 x \(5,\)"):
        vae.decode(torch.zeros(3, 2))


def test_encoder_that_gives_no_flat_features_is_refused():
    with pytest.raises(ModelError, match=r"the encoder must map \[B, 1, 4, 4\] to \[B, H\], got \[2, 3, 2, 2\]"):
        pv.VAE((1, 4, 4), 2, network=(nn.Conv2d(1, 3, 3), nn.Linear(2, 16)))


@pytest.mark.parametrize("network", [(nn.Linear(5, 4),), (nn.Linear(5, 4), "mlp"), (1, 2), [nn.Linear(5, 4)] * 2])
def test_what_is_no_pair_is_refused(network):
    with pytest.raises(ModelError, match="network must be"):
        pv.VAE((5,), 2, network=network)
