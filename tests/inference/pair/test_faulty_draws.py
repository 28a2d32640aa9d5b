"""Distributions whose draws miss their density are refused where they are drawn, and stand as likelihoods."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.faulty_draws import require_faithful_draws

ANGLES = torch.tensor([[0.3, -1.2], [2.0, 0.7], [-0.4, 0.1]])


def sine(x, concentration=2.0):
    ones = torch.ones(len(x))
    return dist.SineBivariateVonMises(0 * ones, 0 * ones, concentration * ones, 3 * ones, 0 * ones)


def latent_angles(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", sine(x))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def drawn_angles(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", sine(x, 5.0))


def observed_angles(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", sine(x, z.exp()), obs=x)


def normal_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0 * x[:, 0], 1.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "told", [pv.evaluate, pv.log_evidence, lambda pair, x: pv.fit(pair, x, elbo="rloo", epochs=1)]
)
def test_a_guide_that_draws_them_is_refused(told):
    with pytest.raises(ModelError, match="site 'z': draws of SineBivariateVonMises do not follow"):
        told((latent_angles, drawn_angles), ANGLES)


def test_as_a_likelihood_the_density_stands_and_simulation_is_refused():
    # With z = 0 and no correlation: two independent von Mises densities.
    with pyro.poutine.trace() as tape, pyro.condition(data={"z": torch.zeros(3)}):
        observed_angles(ANGLES)
    tape.trace.compute_log_prob()
    bessel = math.log(2 * math.pi * torch.i0(torch.tensor(1.0))) + math.log(
        2 * math.pi * torch.i0(torch.tensor(3.0))
    )
    exact = ANGLES[:, 0].cos() + 3 * ANGLES[:, 1].cos() - bessel
    assert torch.allclose(tape.trace.nodes["x"]["log_prob"], exact, atol=1e-4)
    assert pv.evaluate((observed_angles, normal_guide), ANGLES).elbo.isfinite().all()
    with pytest.raises(ModelError, match="site 'x': draws of SineBivariateVonMises"):
        inf.simulate((observed_angles, normal_guide), ANGLES)


def normal_angles(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))


def test_annealing_does_not_start_from_draws_of_another_prior():
    pair = latent_angles, normal_angles
    assert pv.evaluate(pair, ANGLES).elbo.isfinite().all()
    with pytest.raises(ModelError, match="site 'z': draws of SineBivariateVonMises"):
        pv.log_evidence(pair, ANGLES, "ais", num_samples=2, num_temperatures=5)


def test_wrapped_ones_are_found():
    gamma = dist.TruncatedPolyaGamma(torch.ones(())).expand((3,))
    for wrapped in (gamma, gamma.to_event(1), gamma.mask(torch.tensor([True, False, True]))):
        with pytest.raises(ModelError, match="site 'w': draws of TruncatedPolyaGamma"):
            require_faithful_draws({"w": wrapped})
    skewed = dist.SineSkewed(sine(ANGLES), torch.zeros(2))
    with pytest.raises(ModelError, match="site 'w'"):
        require_faithful_draws({"w": skewed})
    require_faithful_draws({"w": dist.VonMises(torch.zeros(3), 1.0)})


def test_correlations_of_three_variables_are_drawn_too_large_and_of_two_as_they_should_be():
    """By the density each of them has the variance 1 / (2 eta + n - 1); the last of three has .30 for .25."""
    require_faithful_draws({"L": dist.LKJCholesky(2, torch.tensor(1.0))})
    for law in (dist.LKJCholesky(3, torch.tensor(1.0)), dist.LKJ(3, torch.tensor(1.0))):
        with pytest.raises(ModelError, match="site 'L': draws of LKJCholesky do not follow its log_prob"):
            require_faithful_draws({"L": law})


@pytest.mark.slow
def test_chains_may_start_from_them():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def model(x):
        with pyro.plate("data", len(x)):
            lower = pyro.sample("L", dist.LKJCholesky(3, x.new_full((), 2.0)))
            pyro.sample("x", dist.MultivariateNormal(x.new_zeros(3), scale_tril=lower), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            u = dist.Normal(x.new_zeros(len(x), 3), 0.5).to_event(1)
            pyro.sample("L", dist.TransformedDistribution(u, dist.transforms.CorrCholeskyTransform()))

    found = pv.diagnostics.run_reference((model, guide), x, num_samples=50, num_warmup=50)
    assert "L" in found
    with pytest.raises(ModelError, match="site 'L': draws of LKJCholesky"):
        pv.log_evidence((model, guide), x, "ais", num_samples=2, num_temperatures=5)
