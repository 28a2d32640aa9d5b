"""Distributions derived from a class of torch or Pyro: what is known of that class is not said of them.

The judge is quadrature over densities written out with scipy.
"""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from scipy.integrate import trapezoid
from torch.distributions import register_kl
from torch.distributions.kl import _KL_REGISTRY

import ppl_vae as pv
from ppl_vae import diagnostics as dg
from ppl_vae import inference as inf
from ppl_vae.diagnostics.gaps.local_posterior import LocalPosterior
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.kl import kl_divergence
from ppl_vae.own_law import keeps_law, states

X = torch.tensor([0.3, -0.7, 1.5, 0.2, 2.1])
GRID = np.linspace(1e-9, 10, 40_001)


class Truncated(dist.Normal):
    """A normal cut off below, as users write it; its entropy and mean are still those of a whole normal."""

    def __init__(self, loc, scale, low=0.0, validate_args=None):
        self.low = low
        super().__init__(loc, scale, validate_args=validate_args)

    @property
    def support(self):
        return dist.constraints.greater_than(self.low)

    def log_prob(self, value):
        return super().log_prob(value) - torch.special.log_ndtr((self.loc - self.low) / self.scale)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        below = torch.special.ndtr((self.low - self.loc) / self.scale)
        level = below + (1 - below) * torch.rand(self._extended_shape(sample_shape)).clamp(1e-6, 1 - 1e-6)
        return (self.loc + self.scale * torch.special.ndtri(level)).clamp_min(self.low + 1e-6)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008
        return self.rsample(sample_shape).detach()

    def expand(self, batch_shape, _instance=None):
        return Truncated(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.low)


class Renamed(dist.Normal):
    """Another name and nothing else."""


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", Truncated(torch.zeros(()), torch.ones(())))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x):
    slope = pyro.param("slope", torch.tensor(0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("z", Truncated(slope * x, torch.tensor(0.8)))


def log_truncated(loc, scale):
    return stats.norm.logpdf(GRID, loc, scale) - stats.norm.logcdf(loc / scale)


def exact():
    """log p(x), the ELBO and the posterior's mean and standard deviation, of every datum, by quadrature."""
    rows = []
    for x in X.double().numpy():
        joint, log_q = log_truncated(0, 1) + stats.norm.logpdf(x, GRID), log_truncated(0.5 * x, 0.8)
        evidence = trapezoid(np.exp(joint), GRID)
        mean = trapezoid(GRID * np.exp(joint), GRID) / evidence
        square = trapezoid(GRID**2 * np.exp(joint), GRID) / evidence
        elbo = trapezoid(np.exp(log_q) * (joint - log_q), GRID)
        rows.append((np.log(evidence), elbo, mean, np.sqrt(square - mean**2)))
    return np.array(rows).T


@pytest.fixture(autouse=True)
def _no_parameters_left():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def test_an_elbo_and_the_evidence_of_a_derived_class_are_those_of_its_own_law():
    log_p, elbo, *_ = exact()
    found = pv.evaluate((model, guide), X, num_particles=4000)
    assert not found.closed_form
    assert abs(found.elbo.mean().item() - elbo.mean()) < 4 * 0.6 / (5 * 4000) ** 0.5
    evidence = pv.log_evidence((model, guide), X, num_samples=4000)
    assert (np.abs(evidence.per_datum.numpy() - log_p) < 4 * evidence.per_datum_stderr.numpy()).all()
    table = dg.run_importance((model, guide), X, 4000)
    error = np.sqrt((table["elbo_stderr"].to_numpy() ** 2).sum()) / len(X)
    assert abs(float(table["elbo"].mean()) - elbo.mean()) < 4 * error


@pytest.mark.slow
def test_draws_of_a_derived_class_are_its_own():
    *_, mean, spread = exact()
    drawn = pv.infer((model, guide), X, 400, progress=False).posterior["z"].to_numpy()[0]
    assert drawn.min() > 0
    assert (np.abs(drawn.mean(0) - mean) < 4 * spread / 400**0.5).all()


@pytest.mark.parametrize("estimator", ["analytic-kl", "entropy"])
def test_a_closed_form_of_the_class_above_is_refused_by_name(estimator):
    with pytest.raises(ModelError, match=r"'z'.*Truncated"):
        inf.get_elbo(estimator).per_datum(model, guide, X)


def test_a_closed_form_that_is_registered_for_a_derived_class_is_taken():
    q, p = Truncated(torch.tensor(0.5), torch.tensor(0.8)), Truncated(torch.tensor(0.0), torch.tensor(1.0))
    with pytest.raises(NotImplementedError, match="Truncated has a law of its own"):
        kl_divergence(q, p)
    try:
        register_kl(Truncated, Truncated)(lambda q, p: torch.tensor(7.0))
        assert kl_divergence(q, p) == 7
        assert kl_divergence(q.to_event(0), p) == 7
        with pytest.raises(NotImplementedError, match="Truncated"):
            kl_divergence(q, dist.Normal(0.0, 1.0))
    finally:
        del _KL_REGISTRY[Truncated, Truncated]


def test_what_is_only_renamed_keeps_the_closed_forms_of_its_class():
    q, p = Renamed(torch.tensor(1.0), torch.tensor(1.0)), dist.Normal(0.0, 1.0)
    assert kl_divergence(q, p) == 0.5
    assert keeps_law(q.expand([3]).to_event(1))
    assert states(q, "entropy")
    assert not states(Truncated(torch.zeros(2), torch.ones(2)).to_event(1), "entropy")
    assert not states(
        dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), Truncated(torch.zeros(2), 1.0)), "mean"
    )


def test_a_family_that_holds_more_than_its_parameters_is_not_made_again_without_it():
    def lower(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", Truncated(0.5 * x, torch.tensor(0.8), low=0.3))

    (site,) = run_terms(model, lower, (X,)).sites.values()
    with pytest.raises(ModelError, match="Truncated made again from its parameters has another density"):
        LocalPosterior(site)
    (site,) = run_terms(model, guide, (X,)).sites.values()
    assert isinstance(LocalPosterior(site)(), Truncated)


def test_two_supports_that_torch_compares_wrongly_have_their_kl_by_draws():
    def uniform(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def grey(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.ContinuousBernoulli(logits=x))

    z = np.linspace(0, 1, 20_001)
    elbo = []
    for x in X.double().numpy():
        log_q = x * z - np.log(trapezoid(np.exp(x * z), z))
        elbo.append(trapezoid(np.exp(log_q) * (stats.norm.logpdf(x, z) - log_q), z))
    found = pv.evaluate((uniform, grey), X, num_particles=4000)
    assert abs(found.elbo.mean().item() - np.mean(elbo)) < 4 * 0.6 / (5 * 4000) ** 0.5
