"""The variance of posterior means against closed forms, with and without a mean that is known."""

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae.inference.pair.active_units import code_variance
from tests.scenarios import draw_data, linear_gaussian


class NoMean(dist.Normal):
    """A normal that does not know its mean."""

    @property
    def mean(self):
        raise NotImplementedError


def without_a_mean(lg):
    """The linear-Gaussian pair, its guide's mean hidden."""

    def guide(x):
        q = lg.encode(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", NoMean(q.base_dist.loc, q.base_dist.scale).to_event(1))

    return guide


@pytest.fixture(scope="module")
def lg():
    return linear_gaussian()


@torch.no_grad()
def test_a_known_mean_gives_its_own_variance_in_chunks(lg, monkeypatch):
    x = draw_data(lg, 50)
    monkeypatch.setattr("ppl_vae.inference.pair.evaluation.CHUNK_NUMBERS", 40)
    torch.testing.assert_close(code_variance(lg.model, lg.guide, x, 2).of_means, lg.encode(x).mean.var(0))


@torch.no_grad()
def test_where_only_draws_are_known_their_noise_is_taken_off(lg):
    """The variance of the draws' means would be too large by a fifth of the guide's variance."""
    x = draw_data(lg, 20000)
    exact = lg.encode(x).mean.var(0)
    estimated = code_variance(lg.model, without_a_mean(lg), x, 5).of_means
    spread = lg.encode(x).mean.std(0) * (2 / 5 * lg.encode(x).variance[0]).sqrt()
    noise = (2 * spread**2 + 2 * (lg.encode(x).variance[0] / 5) ** 2).sqrt() / len(x) ** 0.5
    assert ((estimated - exact).abs() < 4 * noise).all()
    assert (lg.encode(x).variance[0] / 5 > 6 * noise).all()


@torch.no_grad()
def test_the_mean_of_a_flow_is_not_believed():
    """It is the image of the base's mean; the expectation of exp of a normal is exp(s^2 / 2) times that."""

    def guide(x):
        base = dist.Normal(x, 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", PointEstimate(base, [dist.transforms.ExpTransform()]))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.log(), 1.0).to_event(1), obs=x)

    x = torch.linspace(-1, 1, 200, dtype=torch.float64).unsqueeze(-1)
    exact = (x + 0.5).exp().var(0)
    assert (x.exp().var(0) / exact < 0.4).all()
    torch.testing.assert_close(code_variance(model, guide, x, 2000).of_means, exact, rtol=0.05, atol=0)


class PointEstimate(dist.TransformedDistribution):
    """A flow that states the image of its base's mean, as FlowDistribution does."""

    @property
    def mean(self):
        return self.base_dist.mean.exp()
