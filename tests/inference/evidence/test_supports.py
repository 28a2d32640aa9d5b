"""Chains stay where a latent site lives, and find the evidence there: against quadrature."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_reference
from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.supports import free_shape, lies_in_support, to_support
from ppl_vae.inference.evidence.unconstrained import LatentPath, LatentVector

DOUBLE = {"dtype": torch.float64}


def numbers(*values):
    return [torch.tensor(value, **DOUBLE) for value in values]


def one(kind, *parameters):
    return lambda: kind(*numbers(*parameters))


def transformed(base, *parameters):
    return lambda: dist.TransformedDistribution(base(), [dist.transforms.AffineTransform(*numbers(*parameters))])


def mixture(kind, *columns):
    return lambda: dist.MixtureSameFamily(dist.Categorical(torch.ones(2, **DOUBLE)), kind(*numbers(*columns)))


# Of one dimension, with where the mass is in u.
LINE, CIRCLE = 40.0, math.pi
SCALAR = {
    "affine beta": (one(dist.AffineBeta, 2.0, 3.0, -1.0, 4.0), LINE),
    "asymmetric laplace": (one(dist.AsymmetricLaplace, 0.0, 1.0, 2.0), LINE),
    "beta": (one(dist.Beta, 2.0, 3.0), LINE),
    "chi2": (one(dist.Chi2, 3.0), LINE),
    "continuous bernoulli": (one(dist.ContinuousBernoulli, 0.3), LINE),
    "exponential": (one(dist.Exponential, 2.0), LINE),
    "fisher-snedecor": (one(dist.FisherSnedecor, 5.0, 6.0), LINE),
    "folded": (lambda: dist.FoldedDistribution(one(dist.Normal, 1.0, 1.0)()), LINE),
    "gamma": (one(dist.Gamma, 2.0, 3.0), LINE),
    "gumbel": (one(dist.Gumbel, 0.0, 1.0), LINE),
    "half cauchy": (one(dist.HalfCauchy, 1.0), LINE),
    "half normal": (one(dist.HalfNormal, 1.0), LINE),
    "inverse gamma": (one(dist.InverseGamma, 3.0, 2.0), LINE),
    "kumaraswamy": (one(dist.Kumaraswamy, 2.0, 3.0), LINE),
    "laplace": (one(dist.Laplace, 0.0, 1.0), LINE),
    "log normal": (one(dist.LogNormal, 0.0, 1.0), LINE),
    "logistic": (one(dist.Logistic, 0.0, 1.0), LINE),
    "pareto": (one(dist.Pareto, 1.5, 3.0), LINE),
    "relaxed bernoulli": (one(dist.RelaxedBernoulli, 0.5, 0.3), LINE),
    "skew logistic": (one(dist.SkewLogistic, 0.0, 1.0, 2.0), LINE),
    "soft laplace": (one(dist.SoftLaplace, 0.0, 1.0), LINE),
    "student": (one(dist.StudentT, 6.0, 0.0, 1.0), LINE),
    "uniform": (one(dist.Uniform, -1.0, 2.0), LINE),
    "weibull": (one(dist.Weibull, 1.0, 2.0), LINE),
    "an exponential moved and stretched": (transformed(one(dist.Exponential, 1.0), 2.0, 3.0), LINE),
    "half normals mixed": (mixture(dist.HalfNormal, [0.5, 2.0]), LINE),
    "uniforms of one interval mixed": (mixture(dist.Uniform, [-1.0, -1.0], [2.0, 2.0]), LINE),
    "von mises": (one(dist.VonMises, 3.0, 0.5), CIRCLE),
    "von mises mixed": (mixture(dist.VonMises, [0.0, 3.0], [1.0, 2.0]), CIRCLE),
    "a von mises moved and stretched": (transformed(one(dist.VonMises, 0.0, 1.0), 2.0, 3.0), CIRCLE),
}
SEVERAL = {
    "dirichlet": lambda: dist.Dirichlet(torch.ones(3, **DOUBLE)),
    "cholesky of a correlation": lambda: dist.LKJCholesky(3, *numbers(1.0)),
    "logistic normal": lambda: dist.LogisticNormal(torch.zeros(2, **DOUBLE), torch.ones(2, **DOUBLE)),
    "low rank": lambda: dist.LowRankMultivariateNormal(*(torch.ones(s, **DOUBLE) for s in ((3,), (3, 1), (3,)))),
    "student of two": lambda: dist.MultivariateStudentT(
        *numbers(5.0), torch.zeros(2, **DOUBLE), torch.eye(2, **DOUBLE)
    ),
    "relaxed one-hot": lambda: dist.RelaxedOneHotCategorical(*numbers(0.7), torch.full((3,), 1 / 3, **DOUBLE)),
    "two angles": one(dist.SineBivariateVonMises, 0.0, 0.5, 1.0, 2.0, 0.3),
    "a skewed angle": lambda: dist.SineSkewed(dist.VonMises(*numbers([0.5], [1.0])).to_event(1), *numbers([0.3])),
}


@pytest.mark.parametrize("name", [*SCALAR, *SEVERAL])
def test_draws_come_back_and_a_walk_stays_inside(name):
    p = (SEVERAL[name] if name in SEVERAL else SCALAR[name][0])().expand([4])
    free, to_z = free_shape("z", p), to_support(p)
    torch.manual_seed(0)
    drawn = p.sample((200,))
    torch.testing.assert_close(to_z(to_z.inv(drawn)), drawn, rtol=1e-6, atol=1e-6)
    assert lies_in_support(p, drawn)
    assert lies_in_support(p, to_z(2 * torch.randn(200, 4, *free, **DOUBLE)))


@pytest.mark.parametrize("name", SCALAR)
def test_the_density_over_the_free_numbers_has_mass_one(name):
    """A trapezium over u; what is beyond it, and the corners of some densities, take a thousandth at most."""
    make, end = SCALAR[name]
    p = make()
    u = torch.linspace(-end, end, 20_001, **DOUBLE)
    z = to_support(p)(u)
    density = (p.log_prob(z) + to_support(p).log_abs_det_jacobian(u, z)).exp().nan_to_num(0.0)
    assert torch.trapezoid(density, u).item() == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda: dist.VonMises3D(torch.tensor([1.0, 0.0, 0.0])), "VonMises3D has no known transform"),
        (lambda: dist.ProjectedNormal(torch.ones(2)), "ProjectedNormal has no known transform"),
        (mixture(dist.Uniform, [0.0, 0.0], [1.0, 3.0]), "MixtureSameFamily has no known transform"),
        (lambda: dist.Poisson(2.0), "is discrete"),
        (lambda: dist.OrderedLogistic(torch.tensor(0.0), torch.tensor([0.0, 1.0])), "is discrete"),
    ],
)
def test_what_has_no_free_numbers_is_refused_by_name(kind, message):
    with pytest.raises(ModelError, match=f"site 'z'.*{message}"):
        free_shape("z", kind().expand([2]))


def test_an_interval_without_an_end_is_a_half_line():
    """torch says of a generalised Pareto distribution that it lives between loc and infinity."""
    p = dist.GeneralizedPareto(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(0.2)).expand([2])
    u = torch.tensor([-1.0, 2.0])
    torch.testing.assert_close(to_support(p)(u), 1 + u.exp())
    assert free_shape("z", p) == ()


def pair_of(p, q=None):
    """z ~ p, x | z ~ N(z, 1)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", p())
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", (q or p)().expand([len(x)]))

    return model, guide


def quadrature(p, x, end):
    """log p(x) of pair_of(p) by a fine trapezium over u: [N]."""
    u = torch.linspace(-end, end, 200_001, **DOUBLE)
    z = to_support(p)(u)
    log_prior = p.log_prob(z) + to_support(p).log_abs_det_jacobian(u, z)
    joint = (log_prior + dist.Normal(z, 1.0).log_prob(x[:, None])).exp().nan_to_num(0.0)
    return torch.trapezoid(joint, u).log()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("von mises", "prior"),
        ("von mises", "guide"),
        ("pareto", "prior"),
        ("uniform", "guide"),
        ("an exponential moved and stretched", "prior"),
    ],
)
def test_annealing_agrees_with_quadrature(name, start):
    make, end = SCALAR[name]
    x = torch.tensor([0.3, 2.0], **DOUBLE)
    found = pv.log_evidence(pair_of(make), x, "ais", 200, num_temperatures=12, num_leapfrog=2, start=start)
    score = (found.per_datum - quadrature(make(), x, end)) / found.per_datum_stderr
    assert score.abs().max() < 4


@pytest.mark.slow
def test_long_chains_on_a_circle_do_not_leave_it():
    """Over the real numbers the error grew with the length of the walk: to 37 standard errors and more."""
    make, end = SCALAR["von mises"]
    x = torch.tensor([0.3, 2.5], **DOUBLE)
    found = pv.log_evidence(pair_of(make), x, "ais", 100, num_temperatures=300, num_leapfrog=4)
    assert found.per_datum_stderr.max() < 0.03
    assert ((found.per_datum - quadrature(make(), x, end)) / found.per_datum_stderr).abs().max() < 4
    bracket = inf.bidirectional_evidence(pair_of(make), torch.zeros(20, **DOUBLE), 8, num_temperatures=100)
    assert bracket.gap > -3 * bracket.gap_stderr


@pytest.mark.parametrize(
    ("p", "q", "reason"),
    [
        (one(dist.VonMises, 0.0, 1.0), one(dist.Normal, 0.0, 1.0), "guide and prior have different supports"),
        (one(dist.HalfNormal, 1.0), one(dist.Normal, 0.5, 0.5), "the guide draws values outside the support"),
        (
            one(dist.Gamma, 2.0, 2.0),
            one(dist.Beta, 2.0, 2.0),
            "the guide's support is unit interval and the prior's",
        ),
    ],
)
def test_a_guide_elsewhere_starts_no_path(p, q, reason):
    x = torch.tensor([0.3, 1.2], **DOUBLE)
    with pytest.raises(ModelError, match=f"site 'z': {reason}"):
        pv.log_evidence(pair_of(p, q), x, "ais", 16, num_temperatures=3, start="guide")


def test_chains_see_one_density_on_a_circle_and_the_bounds_of_others():
    x = torch.tensor([0.7], **DOUBLE)
    circle = LatentVector(pair_of(one(dist.VonMises, 1.0, 2.0))[0], x)
    u = torch.tensor([[[0.4]]], **DOUBLE)
    here, around = circle.log_density(u), circle.log_density(u + 2 * math.pi)
    torch.testing.assert_close(here, around)
    torch.testing.assert_close(circle.on_circle(u + 2 * math.pi), u)
    pareto = one(dist.Pareto, 1.5, 3.0)
    z = 1.5 + u.exp()
    expected = pareto().log_prob(z) + dist.Normal(z, 1.0).log_prob(x[0]) + u
    half_line = LatentVector(pair_of(pareto)[0], x)
    torch.testing.assert_close(half_line.log_density(u), expected[..., 0])
    assert half_line.on_circle(u) is u


def test_chains_refuse_a_support_that_depends_on_a_site():
    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.HalfNormal(torch.ones_like(x)))
            z = pyro.sample("z", dist.Uniform(torch.zeros_like(top), top + 0.1))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.HalfNormal(torch.ones_like(x)))
            pyro.sample("z", dist.Uniform(torch.zeros_like(top), top + 0.1))

    with pytest.raises(ModelError, match="site 'z': its support depends on another latent site"):
        run_reference((model, guide), torch.ones(1), 20, 20, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["von mises", "pareto", "uniform"])
def test_hmc_has_the_moments_of_quadrature(name):
    make, end = SCALAR[name]
    x = torch.tensor([1.2], **DOUBLE)
    table = run_reference(pair_of(make), x, num_samples=400, num_warmup=100, num_chains=2)
    draws = table["z"].to_numpy().reshape(-1)
    u = torch.linspace(-end, end, 200_001, **DOUBLE)
    z = to_support(make())(u)
    log_prior = make().log_prob(z) + to_support(make()).log_abs_det_jacobian(u, z)
    weight = (log_prior + dist.Normal(z, 1.0).log_prob(x)).exp().nan_to_num(0.0)
    mean = (torch.trapezoid(z.sin() * weight, u) / torch.trapezoid(weight, u)).item()
    error = np.sin(draws).std() / math.sqrt(table["ess"].item())
    assert abs(np.sin(draws).mean() - mean) < 4.5 * error


def test_a_path_knows_its_dimensions():
    x = torch.ones(3, **DOUBLE)
    assert LatentPath(*pair_of(one(dist.Uniform, -1.0, 2.0)), x).dim == 1


def test_evidence_where_each_draw_has_a_prior_of_its_own():
    """Of more than 64 draws of a prior [K, N], with another support in the guide, torch could make no fewer.

    With g ~ Gamma(2, 1), s ~ Gamma(1, g), x ~ Exponential(s): p(x | g) = g / (x + g)^2.
    """

    def model(x):
        with pyro.plate("data", len(x)):
            g = pyro.sample("g", dist.Gamma(2 * torch.ones_like(x), 1.0))
            s = pyro.sample("s", dist.Gamma(torch.ones_like(g), g))
            pyro.sample("x", dist.Exponential(s), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            g = pyro.sample("g", dist.LogNormal(0.4 * torch.ones_like(x), 0.9))
            pyro.sample("s", dist.LogNormal(0.3 - (g + x).log(), 1.0))

    x = torch.tensor([0.2, 1.0, 5.0], **DOUBLE)
    g = torch.linspace(0, 60, 200_001, **DOUBLE)[1:, None]
    exact = torch.trapezoid(g * torch.exp(-g) * g / (x + g) ** 2, g, dim=0).log()
    found = pv.log_evidence((model, guide), x, num_samples=4000)
    assert ((found.per_datum - exact).abs() < 4 * found.per_datum_stderr + 1e-3).all()
    assert found.stderr < 0.02
