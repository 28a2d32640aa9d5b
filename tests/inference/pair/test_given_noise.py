import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.given_noise import GivenNoise, noise_shapes
from ppl_vae.inference.pair.runs import run_terms, trace_terms
from tests.inference.comparisons import CategoricalPair, off_optimum


@pytest.mark.parametrize("guide", ["mean-field", "exact"])
@pytest.mark.parametrize("particles", [1, 3])
def test_draws_are_the_sampling_formula(guide, particles):
    lg, x = off_optimum(guide)
    shape = (particles, len(x), 2) if particles > 1 else (len(x), 2)
    assert noise_shapes(lg.model, lg.guide, x, particles) == {"z": shape}
    eps = torch.randn(shape, dtype=x.dtype)
    terms = run_terms(lg.model, lg.guide, (x,), {}, particles, "total", GivenNoise({"z": eps}))
    q = lg.encode(x)
    factor = q.scale_tril if guide == "exact" else q.stddev.diag_embed()
    expected = q.mean + torch.einsum("nij,...nj->...ni", factor, eps)
    torch.testing.assert_close(terms.sites["z"].value, expected.expand(particles, *expected.shape[-2:]))


@pytest.mark.parametrize("guide", ["mean-field", "exact"])
def test_the_same_stream_gives_the_guides_own_draws(guide):
    lg, x = off_optimum(guide)
    torch.manual_seed(5)
    own = trace_terms(lg.model, lg.guide, x, num_particles=4)
    torch.manual_seed(5)
    noise = {"z": torch.randn(4, 3, 2, dtype=x.dtype)}
    given = run_terms(lg.model, lg.guide, (x,), {}, 4, "total", GivenNoise(noise))
    torch.testing.assert_close(given.sites["z"].value, own.sites["z"].value)


def test_gradients_flow_through_the_formula():
    lg, x = off_optimum()
    eps = torch.randn(len(x), 2, dtype=x.dtype)
    terms = run_terms(lg.model, lg.guide, (x,), {}, 1, "total", GivenNoise({"z": eps}))
    (found,) = torch.autograd.grad(terms.sites["z"].value.sum(), lg.guide.posterior.log_scale)
    torch.testing.assert_close(found, (eps * lg.encode(x).stddev).sum(0))


def test_other_sites_and_observations_are_left_alone():
    with GivenNoise({"z": torch.full((2,), 9.0)}):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))
        other = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        z = pyro.sample("z", dist.Normal(torch.ones(2), 2.0).to_event(1))
    assert torch.equal(z, torch.full((2,), 19.0))
    assert (other < 9).all()


def test_a_site_that_is_no_gaussian_is_named():
    pair = CategoricalPair()
    with pytest.raises(ModelError, match="site 'label' is not Gaussian"):
        noise_shapes(pair.model, pair.guide, torch.randn(3, 2, dtype=torch.float64), 1)
