"""The encoder-decoder from one kind of data to another: its bound, its exact case, its draws, its refusals."""

import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae import models
from ppl_vae.errors import DataError, ModelError

SHAPE, KIND, N = (5,), {"image": (1, 3, 3)}, 6


def pair(**options):
    settings = {"network": {"name": "mlp", "hidden": (8,)}, "likelihood": "gaussian", "hidden": (7,)}
    return models.EncoderDecoderVAE(SHAPE, 2, KIND, **{**settings, **options})


def data(n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *SHAPE, generator=generator), torch.rand(n, 1, 3, 3, generator=generator)


def affine(vae):
    """The pair whose p(z|s), decoder and sigma are affine maps: x given s is Gaussian, and known."""
    prior, decoder = vae.model.prior, vae.model.decoder
    with torch.no_grad():
        prior.scale_head.weight.zero_()
    return prior.loc_head, prior.scale_head.bias.exp(), decoder


def test_log_p_of_the_target_given_the_source_is_that_of_the_gaussian():
    """x | s = N(W m(s) + b, W diag(v^2) W' + sigma^2 I), where every map is affine."""
    vae = pair(network="linear", source_network="linear", likelihood={"name": "gaussian", "sigma": 0.7})
    x, image = data()
    loc, variance, decoder = affine(vae)
    mean = decoder(loc(vae.model.encoder(image)))
    covariance = decoder.weight @ torch.diag(variance) @ decoder.weight.mT + 0.49 * torch.eye(5)
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x).detach()
    found = pv.log_evidence(vae, (x, image), num_samples=2000, progress=False)
    assert ((found.per_datum - exact).abs() < 5 * found.per_datum_stderr + 1e-3).all()
    assert (pv.evaluate(vae, (x, image), num_particles=300).elbo < exact + 0.1).all()


def test_the_bound_is_that_of_its_own_densities_and_the_kl_is_to_what_the_source_says():
    vae, given = pair(), data()
    evaluation = pv.evaluate(vae, given, num_particles=1)
    q, p = vae.encode(*given), vae.encode_source(given[1])
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mean, q.stddev), torch.distributions.Normal(p.mean, p.stddev)
    ).sum(-1)
    torch.testing.assert_close(evaluation.kl, kl.detach(), rtol=1e-4, atol=1e-5)


def test_sites_stand_in_both_programs_and_every_parameter_has_a_gradient():
    vae, (x, image) = pair(), data()
    terms = inf.trace_terms(vae, x, image, num_particles=3)
    assert list(terms.sites) == ["z"]
    assert terms.log_weight.shape == (3, N)
    loss = inf.MonteCarloKL(3)(vae.model, vae.guide)(x, image)
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(loss, list(vae.parameters())))


def test_the_code_alone_says_what_the_source_says():
    """Another source changes p(z|s), not p(x|z); a datum is for itself."""
    vae, (x, image) = pair(), data()
    both, one = vae.encode(x, image).mean, vae.encode(x[:1], image[:1]).mean
    torch.testing.assert_close(both[:1], one)
    assert not torch.equal(vae.encode_source(image).mean, vae.encode_source(image.flip(0)).mean)
    assert vae.decode(both).mean.shape == x.shape


def test_predictions_have_the_moments_of_the_gaussian():
    vae = pair(network="linear", source_network="linear", likelihood={"name": "gaussian", "sigma": 0.7})
    image = data()[1]
    loc, variance, decoder = affine(vae)
    mean = decoder(loc(vae.model.encoder(image))).detach()
    spread = (decoder.weight.square() @ variance + 0.49).sqrt().detach()
    torch.manual_seed(0)
    drawn = vae.predict(image, 4000, with_noise=True)
    assert drawn.shape == (4000, N, *SHAPE)
    assert ((drawn.mean(0) - mean).abs() < 5 * spread / 4000**0.5).all()
    torch.testing.assert_close(drawn.std(0), spread.expand(N, -1), rtol=0.07, atol=0)
    assert vae.sample(N, image).shape == (N, *SHAPE)


@pytest.mark.slow
def test_the_source_is_standardised_once_and_stored(tmp_path):
    x, image = data(40)
    vae = pair()
    pv.fit(vae, {"x": x, "image": 1000 * image}, epochs=1, batch_size=20, progress=False, device="cpu")
    assert vae.model.source.centre == pytest.approx(1000 * image.mean().item(), rel=1e-5)
    assert vae.model.source.spread == pytest.approx(1000 * image.std(correction=0).item(), rel=1e-5)
    vae.start_covariates(image)
    assert vae.model.source.centre > 100
    vae.save(tmp_path)
    loaded = pv.load(tmp_path)
    assert torch.equal(loaded.encode_source(image).mean, vae.encode_source(image).mean)
    assert torch.equal(loaded.reconstruct(x, 1000 * image), vae.reconstruct(x, 1000 * image))
    assert loaded.config == vae.config


def test_a_source_of_the_targets_own_shape_is_the_default():
    vae = models.EncoderDecoderVAE((1, 4, 4), 2)
    assert vae.model.covariates == vae.guide.covariates == ("source",)
    x = torch.rand(3, 1, 4, 4).round()
    assert torch.isfinite(pv.evaluate(vae, (x, x)).elbo).all()


def test_what_cannot_be_is_refused_by_name():
    vae, (x, image) = pair(), data()
    with pytest.raises(ModelError, match=r"covariate 'image': expected sources \[N, 1, 3, 3\], got \[6, 3, 3\]"):
        pv.evaluate(vae, (x, image[:, 0]))
    with pytest.raises(ModelError, match="the model needs 'image' beside x"):
        pv.evaluate(vae, x)
    with pytest.raises(ModelError, match=r"p\(x\|s\) needs the covariate 'image'"):
        vae.sample(3)
    with pytest.raises(ModelError, match="covariate 'image': expected 3 of it, found 6"):
        vae.sample(3, image)
    with pytest.raises(DataError, match="image: NaN or infinite values"):
        pv.evaluate(vae, (x, torch.full_like(image, torch.nan)))
    with pytest.raises(DataError, match="covariate 'image': NaN or infinite values"):
        vae.predict(torch.full_like(image, torch.nan))
    for source in ({}, {"a": (2,), "b": (2,)}, ["image"]):
        with pytest.raises(ModelError, match="source: expected one name and shape"):
            models.EncoderDecoderVAE(SHAPE, 2, source)
    with pytest.raises(ModelError, match="'dais'"):
        pair(posterior="dais")
    with pytest.raises(ModelError, match="network"):
        pair(source_network=(nn.Identity(), nn.Identity()))
