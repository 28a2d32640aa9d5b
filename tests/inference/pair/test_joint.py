"""The programs at given points against the linear-Gaussian model's densities written out."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.joint import log_guide, log_joint, terms_at
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.models.posteriors.posteriors import FlowPosterior

K, N = 3, 5


@pytest.fixture
def workbench():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 2, dtype=torch.float64, generator=generator)
    bias = torch.randn(4, dtype=torch.float64, generator=generator)
    lg = pv.LinearGaussianVAE(weight, bias, 0.7)
    x = torch.randn(N, 4, dtype=torch.float64, generator=generator)
    z = torch.randn(K, N, 2, dtype=torch.float64, generator=generator)
    return lg, weight, bias, x, z


def written_out(z, weight, bias, x):
    log_prior = -0.5 * z.square().sum(-1) - math.log(2 * math.pi)
    residual = (x - bias - z @ weight.T) / 0.7
    return log_prior, -0.5 * residual.square().sum(-1) - 4 * math.log(0.7) - 2 * math.log(2 * math.pi)


def test_log_joint_is_the_density_written_out(workbench):
    lg, weight, bias, x, z = workbench
    joint = log_joint(lg.model, x, {"z": z})
    log_prior, log_likelihood = written_out(z, weight, bias, x)
    torch.testing.assert_close(joint.log_prior, log_prior)
    torch.testing.assert_close(joint.log_likelihood, log_likelihood)


def test_one_particle_takes_the_same_road(workbench):
    lg, _, _, x, z = workbench
    all_three = log_joint(lg.model, x, {"z": z})
    one = log_joint(lg.model, x, {"z": z[1:2]})
    assert one.log_prior.shape == (1, N)
    torch.testing.assert_close(one.log_likelihood[0], all_three.log_likelihood[1])


def test_gradient_reaches_the_latents(workbench):
    lg, weight, bias, x, z = workbench
    z.requires_grad_()
    joint = log_joint(lg.model, x, {"z": z})
    (gradient,) = torch.autograd.grad((joint.log_prior + joint.log_likelihood).sum(), z)
    exact = -z + ((x - bias - z @ weight.T) / 0.49) @ weight
    torch.testing.assert_close(gradient, exact)


def test_terms_at_are_those_of_the_exact_posterior(workbench):
    _, weight, bias, x, z = workbench
    exact = pv.LinearGaussianVAE(weight, bias, 0.7, guide="exact")
    exact.reset_guide()
    terms = terms_at(exact.model, exact.guide, x, {"z": z})
    torch.testing.assert_close(terms.log_weight, exact.log_evidence(x).expand(K, N))
    torch.testing.assert_close(terms.log_guide, exact.posterior(x).log_prob(z))


def test_simulated_moments(workbench):
    lg, weight, bias, _, _ = workbench
    pyro.set_rng_seed(0)
    number = 100_000
    drawn = simulate(lg.model, torch.full((number, 4), 1e30, dtype=torch.float64))
    assert drawn.values["z"].shape == (number, 2)
    covariance = weight @ weight.T + 0.49 * torch.eye(4)
    scale = covariance.diagonal().sqrt()
    deviation = (drawn.x.mean(0) - bias) / scale * math.sqrt(number)
    assert deviation.abs().max() < 4.5
    error = ((covariance.square() + scale[:, None].square() * scale.square()) / number).sqrt()
    assert ((drawn.x.T.cov() - covariance) / error).abs().max() < 4.5


def test_a_site_without_a_value_is_named(workbench):
    lg, _, _, x, z = workbench
    with pytest.raises(ModelError, match="'z' of the model was given no value"):
        log_joint(lg.model, x, {"w": z})


def test_simulation_needs_one_observed_site():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("a", dist.Normal(z, 1.0), obs=x)
            pyro.sample("b", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ModelError, match="site 'b' observes what another site does"):
        simulate(model, torch.zeros(3))


def test_the_guide_alone_gives_the_density_that_a_run_of_the_pair_gives(workbench):
    lg, _, _, x, z = workbench
    alone = log_guide(lg.guide, x, {"z": z})
    assert alone.shape == (K, N)
    torch.testing.assert_close(alone, lg.encode(x).log_prob(z))
    torch.testing.assert_close(alone, terms_at(lg.model, lg.guide, x, {"z": z}).log_guide)


def test_a_guide_without_an_inverse_has_no_density_elsewhere():
    vae = pv.VAE((4,), 2, posterior=FlowPosterior("planar"), likelihood="gaussian")
    with pytest.raises(NotImplementedError, match=r"site 'z'.*no inverse"):
        log_guide(vae.guide, torch.zeros(N, 4), {"z": torch.zeros(K, N, 2)})


def test_a_model_that_refuses_the_shape_says_so_in_one_line():
    """Pyro appends a table of its trace to what a program raises."""
    vae = pv.VAE((4,), 2, likelihood="gaussian")
    with pytest.raises(ModelError, match=r"expected data of shape \[N, 4\], got \[3, 5\]$"):
        simulate(vae.model, torch.zeros(3, 5))
