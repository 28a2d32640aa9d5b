"""The energy score against its closed form for one Gaussian, its optimum, and what it refuses."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from scipy.stats import norm

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.oracles import assert_mean

pytestmark = pytest.mark.usefixtures("one_thread")


class OneGaussian(torch.nn.Module):
    """x ~ N(loc, scale^2), whatever the point z = 0 is."""

    def __init__(self, loc, scale):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.tensor(loc, dtype=torch.float64))
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(scale), dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=x.dtype), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.loc + 0 * z, self.log_scale.exp()).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 1, dtype=x.dtype), 1.0).to_event(1))


@pytest.mark.parametrize("num_particles", [2, 5])
def test_the_mean_is_the_closed_form_of_a_gaussian(num_particles):
    """At b = 1 in one dimension it is the CRPS (Gneiting & Raftery 2007, section 4.2)."""
    loc, scale, value = 0.3, 0.8, 1.1
    pair, t = OneGaussian(loc, scale), (value - loc) / scale
    exact = scale * (t * (2 * norm.cdf(t) - 1) + 2 * norm.pdf(t) - 1 / math.sqrt(math.pi))
    torch.manual_seed(0)
    x = torch.full((20_000, 1), value, dtype=torch.float64)
    found = inf.EnergyScore(num_particles).per_datum(pair, x).detach()
    assert_mean(found, -exact)


@pytest.mark.slow
def test_its_optimum_is_the_law_of_the_data():
    torch.manual_seed(0)
    x = 2.0 + 0.5 * torch.randn(2000, 1, dtype=torch.float64)
    pair = OneGaussian(0.0, 2.0)
    optimizer = torch.optim.Adam(pair.parameters(), lr=0.1)
    objective = inf.EnergyScore(4)(pair.model, pair.guide)
    for _ in range(120):
        optimizer.zero_grad()
        (objective(x) / len(x)).backward()
        optimizer.step()
    assert abs(pair.loc.item() - x.mean().item()) < 0.05
    assert abs(pair.log_scale.exp().item() - x.std().item()) < 0.05


def test_equal_draws_have_finite_gradients():
    pair = OneGaussian(0.0, 1e-200)
    loss = inf.EnergyScore(2)(pair.model, pair.guide)(torch.zeros(3, 1, dtype=torch.float64))
    loss.backward()
    assert pair.loc.grad.isfinite()
    assert pair.log_scale.grad.isfinite()


def test_what_it_is_not_proper_for_or_cannot_draw_is_refused():
    with pytest.raises(ModelError, match="power must be below 2"):
        inf.EnergyScore(power=2.0)
    with pytest.raises(ModelError, match="num_particles must be an integer of at least 2, got 1"):
        inf.EnergyScore(1)
    vae = pv.VAE((4,), 2)
    with pytest.raises(ModelError, match="site 'x': the energy score differentiates draws"):
        inf.EnergyScore().per_datum(vae, torch.ones(3, 4))
