"""Models in bfloat16 and float16: networks in half precision, densities and their sums in single."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.models.program_table import PROGRAMS, data
from tests.models.table import LIKELIHOODS, POSTERIORS, legal

HALF = (torch.bfloat16, torch.float16)
every_dtype = pytest.mark.parametrize("dtype", HALF, ids=str)


def densities_in_double(terms):
    """log p(x|z) of a run from its own features, and log p(z) - log q(z|x) from its own parameters, in float64."""
    site, seen = terms.sites["z"], terms.observations["x"]
    logits, x = seen.p.base_dist.logits.double(), seen.value.double()
    likelihood = (x * logits - torch.nn.functional.softplus(logits, threshold=50)).flatten(-3).sum(-1)
    q, z = site.q.base_dist, site.value.double()
    ratio = torch.distributions.Normal(0.0, 1.0).log_prob(z) - torch.distributions.Normal(
        q.loc.double(), q.scale.double()
    ).log_prob(z)
    return likelihood + ratio.sum(-1)


@every_dtype
def test_a_sum_over_an_image_keeps_its_nats(dtype):
    vae = pv.VAE((1, 28, 28), 5, seed=0).to(dtype)
    x = torch.rand(20, 1, 28, 28).round().to(dtype)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=3)
        assert terms.log_weight.dtype == torch.float32
        torch.testing.assert_close(terms.log_weight.double(), densities_in_double(terms), rtol=0, atol=1e-3)


@every_dtype
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_every_program_reports_in_single_precision(program, dtype):
    x = data(40)
    half = program.pair().to(dtype)
    y = next(iter(program.labels(x)), None)
    found = pv.evaluate(half, x, num_particles=8, y=y).elbo
    exact = pv.evaluate(program.pair().to(dtype).double(), x, num_particles=8, y=y).elbo
    assert found.dtype == torch.float32
    # The noise is another one, so that the two agree to its standard error.
    error = 6 * exact.std() / (8 * len(x)) ** 0.5 + 0.05
    assert abs(found.double().mean() - exact.mean()) < error
    objective = next(iter(program.objectives.values()))
    objective(half.model, half.guide)(x.to(dtype), *program.labels(x)).backward()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("posterior", ["log-variance", "full-covariance", "low-rank", "mixture", "semi-amortised"])
def test_every_part_has_densities_of_single_precision(likelihood, posterior):
    if posterior != "log-variance" and likelihood != "bernoulli":
        pytest.skip("each posterior once")
    size = 4 if likelihood == "columns" else 6
    parts = {"likelihood": LIKELIHOODS[likelihood], "posterior": POSTERIORS[posterior]}
    vae = pv.VAE((size,), 3, network="linear", **parts).to(torch.bfloat16)
    x = legal(likelihood, torch.rand(4, size).to(torch.bfloat16))
    terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=2)
    for density in (terms.log_likelihood, terms.log_prior, terms.log_guide):
        assert density.dtype == torch.float32
    (-terms.log_weight.mean()).backward()
    assert vae.sample(3).shape == (3, size)


@pytest.mark.parametrize("part", [{"prior": "flow"}, {"posterior": "flow"}])
def test_densities_that_are_networks_themselves_are_refused(part):
    vae = pv.VAE((6,), 3, **part).to(torch.bfloat16)
    with pytest.raises(ModelError, match="'flow' computes its density by networks; bfloat16 rounds too coarsely"):
        pv.evaluate(vae, torch.ones(4, 6))
