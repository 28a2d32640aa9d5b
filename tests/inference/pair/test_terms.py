"""Terms: every density of one run, per datum, against densities written out."""

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from tests.inference.hierarchy import Chain, chain_workbench
from tests.inference.oracles import Copies, log_densities, workbench

pytestmark = pytest.mark.usefixtures("one_thread")


def trace(particles, gradient="total", copies=5):
    torch.manual_seed(0)
    p, x = workbench(0, 4, 2)
    pair = Copies(p, x, copies)
    return p, x, pair, inf.trace_terms(pair.model, pair.guide, pair.x, num_particles=particles, gradient=gradient)


@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize("gradient", ["total", "path", "score"])
def test_every_density_is_per_particle_and_datum_and_right(particles, gradient):
    p, x, _, terms = trace(particles, gradient)
    z = terms.sites["z"].value
    assert z.shape == (particles, 5, 2)
    wanted = log_densities(p, x, z)
    for found, exact in zip((terms.log_likelihood, terms.log_prior, terms.log_guide), wanted, strict=True):
        assert found.shape == (particles, 5)
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
    log_weight = wanted[0] + wanted[1] - wanted[2]
    torch.testing.assert_close(terms.log_weight, log_weight, rtol=1e-12, atol=1e-12)
    scale = p["log_scale"].exp()
    torch.testing.assert_close(terms.entropy, dist.Normal(p["loc"], scale).entropy().sum().expand(particles, 5))
    kl = 0.5 * (p["loc"] ** 2 + scale**2 - 1 - 2 * p["log_scale"]).sum()
    torch.testing.assert_close(terms.kl(), kl.expand(particles, 5))
    torch.testing.assert_close(terms.kl("z"), terms.kl())
    assert (terms.model_order, terms.data_scale, terms.kl_weight) == (("z",), 1.0, 1.0)


def test_what_flows_to_the_guide_depends_on_the_kind_of_gradient():
    flows = {}
    for gradient in ("total", "path", "score"):
        _, _, pair, terms = trace(3, gradient)
        loc, value = pair.p["loc"], terms.sites["z"].value
        flows[gradient] = terms.log_guide, loc, value
    # A draw of a location-scale family moves with its mean, so its density stands still ...
    log_guide, loc, _ = flows["total"]
    assert torch.autograd.grad(log_guide.sum(), loc)[0].abs().max() < 1e-12
    # ... the path derivative sees only the draw move, the score only the density.
    log_guide, loc, value = flows["score"]
    assert not value.requires_grad
    score = torch.autograd.grad(log_guide.sum(), loc)[0]
    log_guide, loc, _ = flows["path"]
    path = torch.autograd.grad(log_guide.sum(), loc)[0]
    torch.testing.assert_close(path, -score)
    assert score.abs().min() > 1e-3


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_a_weight_multiplies_the_divergence_and_nothing_else(beta):
    _, _, _, terms = trace(3)
    weighted = terms.weighted(beta)
    divergence = terms.log_guide - terms.log_prior
    torch.testing.assert_close(weighted.log_weight, terms.log_likelihood - beta * divergence)
    torch.testing.assert_close(weighted.kl(), beta * terms.kl())
    torch.testing.assert_close(weighted.log_prior, terms.log_prior)
    torch.testing.assert_close(weighted.weighted(3.0).log_weight, terms.log_likelihood - 3 * beta * divergence)
    assert terms.kl_weight == 1.0


def test_one_particle_has_the_same_numbers_as_its_place_among_several():
    # Without the particles' plate, the draw of one particle is the guide's plain draw.
    p, _, pair, terms = trace(1)
    torch.manual_seed(0)
    plain = pyro.poutine.trace(pair.guide).get_trace(pair.x).nodes["z"]["value"]
    assert torch.equal(terms.sites["z"].value[0], plain)
    assert torch.equal(terms.sites["z"].draw, plain)
    assert p["loc"].shape == (2,)


def test_several_sites_add_up_and_are_listed_in_the_guides_order():
    p, x = chain_workbench("bottom-up")
    pair = Chain(p, x, 4, "bottom-up")
    terms = inf.trace_terms(pair.model, pair.guide, pair.x, num_particles=3)
    assert list(terms.sites) == ["z2", "z1"]
    assert terms.model_order == ("z1", "z2")
    z1, z2 = (terms.sites[name].value for name in ("z1", "z2"))
    log_prior = dist.Normal(0, 1).log_prob(z1) + dist.Normal(p["slope"] * z1, 0.5).log_prob(z2)
    log_guide = dist.Normal(p["m2"], p["r2"].exp()).log_prob(z2)
    log_guide = log_guide + dist.Normal(p["m1"] + p["gain"] * z2, p["r1"].exp()).log_prob(z1)
    torch.testing.assert_close(terms.log_prior, log_prior.squeeze(-1))
    torch.testing.assert_close(terms.log_guide, log_guide.squeeze(-1))
    exact = torch.distributions.kl_divergence(
        dist.Normal(p["m2"], p["r2"].exp()), dist.Normal(p["slope"] * z1, 0.5)
    )
    torch.testing.assert_close(terms.kl("z2"), exact.squeeze(-1))


def test_several_observed_sites_add_up():
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1))
            for j in range(2):
                pyro.sample(f"x{j}", dist.Normal(z, 1.0 + j), obs=x[:, j])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sum(-1), 0.5))

    terms = inf.trace_terms(model, guide, x, num_particles=2)
    z = terms.sites["z"].value
    wanted = sum(dist.Normal(z, 1.0 + j).log_prob(x[:, j]) for j in range(2))
    torch.testing.assert_close(terms.log_likelihood, wanted)


def test_a_subsampled_plate_leaves_the_terms_unscaled():
    x = torch.randn(12, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def site(x, name, loc, obs=None):
        with pyro.plate("data", 12, subsample=torch.arange(3)) as index:
            loc = loc[index] if len(loc) == 12 else loc
            return pyro.sample(name, dist.Normal(loc, 1).to_event(1), obs=obs)

    def model(x):
        with pyro.plate("data", 12, subsample=torch.arange(3)) as index:
            z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 1).to_event(1), obs=x[index])

    terms = inf.trace_terms(model, lambda x: site(x, "z", x), x, num_particles=2)
    assert terms.data_scale == 4.0
    z = terms.sites["z"].value
    torch.testing.assert_close(terms.log_likelihood, dist.Normal(z, 1).log_prob(x[:3]).sum(-1))
    torch.testing.assert_close(terms.log_guide, dist.Normal(x[:3], 1).log_prob(z).sum(-1))


# Refusals -------------------------------------------------------------------------------------------------------


def test_a_bad_kind_of_gradient_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="gradient must be one of total, path, score, got 'pathwise'"):
        trace(1, "pathwise")


@pytest.mark.parametrize("particles", [0, -2])
def test_no_particles_are_refused(particles):
    with pytest.raises(ModelError, match=f"num_particles must be an integer of at least 1, got {particles}"):
        trace(particles)


def test_a_model_judges_its_data_before_it_runs():
    vae = pv.VAE((4,), 2, seed=0)
    with pytest.raises(DataError, match="bernoulli"):
        inf.trace_terms(vae.model, vae.guide, torch.full((3, 4), 0.5))


def test_terms_leave_the_parameter_store_as_it_was():
    vae = pv.VAE((4,), 2, seed=0)
    inf.trace_terms(vae.model, vae.guide, torch.ones(3, 4), num_particles=2, gradient="path")
    assert len(pyro.get_param_store()) == 0
