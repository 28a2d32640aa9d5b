"""The optimal sigma of a Gaussian likelihood: its value, its gradient, when it moves, and where training leads."""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.models.likelihoods.real import MIN_OPTIMAL_SIGMA, RUNNING_WEIGHT

N, D, L = 6, 5, 2


def sigma_vae(initial_sigma=1.0):
    return pv.VAE((D,), L, likelihood=pv.models.GaussianLikelihood("optimal", initial_sigma)).double()


def data(n=N):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def run(vae, x, num_particles=1):
    """One run in the vae's own mode: its terms, the squared errors [K, N, D], and the sigma of p(x|z)."""
    terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=num_particles)
    p = terms.observations["x"].p
    return terms, (x - p.mean).square(), p.stddev.flatten()[0]


@pytest.mark.parametrize("num_particles", [1, 4])
def test_training_takes_the_mean_squared_error_over_batch_pixels_and_particles(num_particles):
    vae, x = sigma_vae(), data()
    terms, error, sigma = run(vae, x, num_particles)
    assert sigma.item() ** 2 == pytest.approx(error.mean().item(), rel=1e-12)
    # Then the squared errors are D nats in the mean, and only the log is left.
    expected = -D / 2 * math.log(2 * math.pi * math.e * error.mean().item())
    assert terms.log_likelihood.mean().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("num_particles", [1, 3])
def test_the_gradient_is_that_of_the_profile_likelihood(num_particles):
    """d/dtheta of -D/2 log(2 pi e mean error), through sigma: the envelope theorem."""
    vae, x = sigma_vae(), data()
    parameters = list(vae.model.decoder.parameters())
    terms, error, _ = run(vae, x, num_particles)
    ours = torch.autograd.grad(terms.log_likelihood.mean(), parameters, retain_graph=True)
    profile = torch.autograd.grad(-D / 2 * error.mean().log(), parameters)
    for a, b in zip(ours, profile, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_running_variance_is_a_mean_of_the_first_batches_then_a_moving_one():
    vae, x = sigma_vae(), data()
    seen, expected = [], None
    for _ in range(25):
        seen.append(run(vae, x)[1].mean().item())
        weight = max(1 / len(seen), RUNNING_WEIGHT)
        expected = seen[0] if expected is None else expected + weight * (seen[-1] - expected)
    running = vae.model.likelihood.variance.item()
    assert running == pytest.approx(expected, rel=1e-12)
    assert vae.decode(torch.zeros(1, L).double()).stddev[0, 0].item() == pytest.approx(
        math.sqrt(running), rel=1e-12
    )


def test_evaluation_uses_it_and_leaves_it():
    vae, x = sigma_vae(initial_sigma=0.7), data()
    vae.eval()
    assert run(vae, x)[2].item() == pytest.approx(0.7)
    vae.train()
    pv.evaluate(vae, x)
    with torch.no_grad():
        run(vae, x)
    vae.sample(3), vae.model(size=3), vae.reconstruct(x)
    assert vae.model.likelihood.variance.item() == pytest.approx(0.7**2)
    assert vae.model.likelihood.num_batches.item() == 0


def test_evaluation_does_not_depend_on_the_batch():
    vae, x = sigma_vae(), data()
    run(vae, x)
    vae.eval()
    z = torch.randn(N, L, dtype=torch.float64)
    one_by_one = torch.cat([vae.decode(z[i : i + 1]).log_prob(x[i : i + 1]) for i in range(N)])
    torch.testing.assert_close(vae.decode(z).log_prob(x), one_by_one)


def test_it_is_stored_with_the_weights(tmp_path):
    vae, x = sigma_vae(), data()
    run(vae, x)
    vae.save(tmp_path)
    loaded = pv.load(tmp_path).model.likelihood
    assert torch.equal(loaded.variance, vae.model.likelihood.variance)
    assert torch.equal(loaded.num_batches, vae.model.likelihood.num_batches)


def test_a_perfect_decoder_meets_the_floor():
    part = pv.models.GaussianLikelihood("optimal")
    p = part.adapt(torch.zeros(3, 1, D), torch.zeros(3, D), 1)
    assert p.stddev.unique().item() == pytest.approx(MIN_OPTIMAL_SIGMA)


def test_a_batch_in_which_every_pixel_is_missing_moves_nothing():
    part = pv.models.GaussianLikelihood("optimal", 0.6)
    part.adapt(torch.zeros(3, 1, D), torch.full((3, D), torch.nan), 1)
    assert part.variance.item() == pytest.approx(0.36)


@pytest.mark.slow
def test_two_runs_stopped_and_resumed_end_alike(tmp_path):
    def train(vae, epochs, **options):
        return pv.fit(vae, data(40), epochs=epochs, batch_size=16, device="cpu", progress=False, **options).model

    whole = train(sigma_vae(), 3, out_dir=tmp_path / "whole")
    train(sigma_vae(), 2, out_dir=tmp_path / "parts")
    parts = train(sigma_vae(), 3, out_dir=tmp_path / "parts", resume=True)
    assert whole.model.likelihood.num_batches.item() == 9
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


@pytest.mark.slow
def test_with_a_linear_decoder_training_reaches_the_noise_of_probabilistic_pca():
    """sigma^2 = mean of the discarded eigenvalues, ELBO = the maximum of the pPCA likelihood (Tipping & Bishop)."""
    n, dim, latent = 400, 6, 2
    generator = torch.Generator().manual_seed(3)
    scales = torch.tensor([3.0, 2.0, 0.8, 0.7, 0.6, 0.5], dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
    x = (torch.randn(n, dim, generator=generator, dtype=torch.float64) * scales) @ rotation
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    noise = eigenvalues[latent:].mean()
    log_det = eigenvalues[:latent].log().sum() + (dim - latent) * noise.log()
    optimum = -0.5 * (dim * math.log(2 * math.pi) + log_det + dim).item()
    torch.manual_seed(1)
    network = torch.nn.Identity(), torch.nn.Linear(latent, dim)
    vae = pv.VAE((dim,), latent, network=network, likelihood={"name": "gaussian", "sigma": "optimal"}).double()
    elbo = inf.AnalyticKL(num_particles=8)
    schedule = inf.schedules.cosine(600)
    pv.fit(vae, x, elbo, 600, n, 0.1, schedule=schedule, device="cpu", progress=False)
    assert vae.model.likelihood.variance.item() == pytest.approx(noise.item(), rel=0.03)
    assert pv.evaluate(vae, x, num_particles=50).elbo.mean().item() == pytest.approx(optimum, abs=0.03)
