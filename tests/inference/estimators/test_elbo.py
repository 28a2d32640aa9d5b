"""The ELBO in its three forms and its path derivative, against closed forms (KNOWLEDGE 0.1 to 0.4)."""

import math

import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.oracles import (
    PHI,
    THETA,
    Copies,
    assert_gradient,
    assert_mean,
    assert_variance,
    elbo,
    elbo_gradient,
    estimate,
    gradient_of,
    kl_from_posterior,
    log_evidence,
    log_weights,
    normal_nodes,
    posterior,
    precision_and_pull,
    repeated,
    tempered_log_weight,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")

FORMS = ["monte-carlo-kl", "analytic-kl", "entropy", "sticking-the-landing"]
MODELS = [(2, 1), (8, 3), (20, 5)]


# The oracles themselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("data_dim", "latent_dim"), MODELS)
def test_the_oracles_agree_with_each_other_and_with_the_library_model(data_dim, latent_dim):
    p, x = workbench(1, data_dim, latent_dim)
    lg = library_model(p, x)
    assert elbo(p, x).item() == pytest.approx(lg.elbo(x[None]).item(), rel=1e-10)
    assert log_evidence(p, x).item() == pytest.approx(lg.log_evidence(x[None]).item(), rel=1e-10)
    by_autograd = gradient_of(lambda p: elbo(p, x), p, p)
    for name, exact in elbo_gradient(p, x).items():
        torch.testing.assert_close(by_autograd[name], exact, rtol=1e-10, atol=1e-10)
    # The ends of the thermodynamic path: the ELBO, and log p(x) + KL(p(z|x) || q).
    assert tempered_log_weight(p, x, 0.0).item() == pytest.approx(elbo(p, x).item(), rel=1e-10)
    upper = log_evidence(p, x) + kl_from_posterior(p, x)
    assert tempered_log_weight(p, x, 1.0).item() == pytest.approx(upper.item(), rel=1e-10)


def library_model(p, x):
    """The same numbers as a LinearGaussianVAE whose guide has the workbench's mean and scale at x."""
    lg = pv.LinearGaussianVAE(p["weight"], p["bias"], p["log_sigma"].exp())
    with torch.no_grad():
        lg.guide.posterior.offset.add_(p["loc"] - lg.encode(x[None]).mean[0])
        lg.guide.posterior.log_scale.copy_(p["log_scale"])
    return lg


# Value and gradient --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("data_dim", "latent_dim"), MODELS)
def test_value_and_gradient_are_the_exact_ones(name, data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    value, gradient = repeated(inf.get_elbo(name), lambda: Copies(p, x, 200, 200), chunks=5)
    assert_mean(value, elbo(p, x))
    assert_gradient(gradient, elbo_gradient(p, x))


@pytest.mark.parametrize("name", FORMS)
def test_particles_average_without_bias_and_divide_the_variance(name):
    p, x = workbench(3, 6, 2)
    one, _ = repeated(inf.get_elbo(name), lambda: Copies(p, x, 20_000), chunks=1, seed=1)
    four, gradient = repeated(inf.get_elbo(name, num_particles=4), lambda: Copies(p, x, 200, 100), chunks=1)
    assert_mean(four, elbo(p, x))
    assert_gradient(gradient, elbo_gradient(p, x))
    assert four.var().item() == pytest.approx(one.var().item() / 4, rel=0.1)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_a_weight_on_the_divergence_multiplies_it_in_value_and_gradient(name, beta):
    p, x = workbench(2, 3, 1)
    nodes, mass = normal_nodes(40, 1)
    weighted = lambda p: mass @ log_weights(p, x, nodes, beta)  # noqa: E731
    value, gradient = repeated(inf.get_elbo(name), lambda: Copies(p, x, 200, 200), chunks=1, kl_weight=beta)
    assert_mean(value, weighted(p))
    assert_gradient(gradient, gradient_of(weighted, p, p))


def terms_of(p, x, objective, copies, seed):
    torch.manual_seed(seed)
    pair = Copies(p, x, copies)
    return inf.trace_terms(
        pair.model, pair.guide, pair.x, num_particles=objective.num_draws, gradient=objective.gradient
    )


# Variances ------------------------------------------------------------------------------------------------


def value_variance(p, x, name):
    """Var f = v'Sv + tr(Q^2) / 2 with v and Q by form (KNOWLEDGE 0.2)."""
    a, h = precision_and_pull(p, x)
    eye, scale = torch.eye(len(h), dtype=h.dtype), p["log_scale"].exp()
    curvature = a if name == "analytic-kl" else a + eye
    q = scale[:, None] * curvature * scale - (eye if name == "monte-carlo-kl" else 0)
    v = scale * (h - curvature @ p["loc"])
    return v @ v + 0.5 * (q @ q).trace()


def gradient_variances(p, x, name):
    """Variance of the gradient in mean and log-scale (KNOWLEDGE 0.3): g = c - B S^1/2 eps."""
    a, h = precision_and_pull(p, x)
    eye, s2 = torch.eye(len(h), dtype=h.dtype), torch.exp(2 * p["log_scale"])
    b = {"analytic-kl": a, "sticking-the-landing": a + eye - torch.diag(1 / s2)}.get(name, a + eye)
    c = h - (a if name == "analytic-kl" else a + eye) @ p["loc"]
    loc = (b.square() * s2).sum(1)
    log_scale = s2 * (c.square() + loc + b.diagonal().square() * s2)
    return loc, log_scale


@pytest.mark.parametrize("name", FORMS)
def test_variances_are_the_exact_ones(name):
    p, x = workbench(4, 5, 3)
    value, gradient = repeated(inf.get_elbo(name), lambda: Copies(p, x, 50_000, live=PHI), chunks=2)
    loc, log_scale = gradient_variances(p, x, name)
    if name != "sticking-the-landing":
        assert_variance(value, value_variance(p, x, name), relative=0.05)
    assert_variance(gradient["loc"], loc, relative=0.05)
    assert_variance(gradient["log_scale"], log_scale, relative=0.15)


def divergence_only(loc, log_scale):
    """A likelihood that does not depend on z: log w = const - (log q - log p)."""
    one = torch.ones(1, dtype=torch.float64)
    zeros = torch.zeros(1, len(loc), dtype=torch.float64)
    p = {"weight": zeros, "bias": one, "log_sigma": 0 * one[0], "loc": loc, "log_scale": log_scale}
    return p, one


def test_one_draw_of_the_divergence_has_the_exact_variances():
    loc = torch.tensor([0.7, -1.3], dtype=torch.float64)
    scale = torch.tensor([0.6, 1.4], dtype=torch.float64)
    p, x = divergence_only(loc, scale.log())
    exact = (loc**2 * scale**2 + 0.5 * (scale**2 - 1) ** 2).sum()
    value, total = repeated(inf.MonteCarloKL(), lambda: Copies(p, x, 100_000, live=PHI), chunks=1)
    _, path = repeated(inf.StickingTheLanding(), lambda: Copies(p, x, 100_000, live=PHI), chunks=1)
    assert_variance(value, exact, relative=0.05)
    assert_variance(total["loc"], scale**2, relative=0.05)
    assert_variance(total["log_scale"], loc**2 * scale**2 + 2 * scale**4, relative=0.15)
    assert_variance(path["loc"], (scale - 1 / scale) ** 2, relative=0.05)
    assert_variance(path["log_scale"], loc**2 * scale**2 + 2 * (scale**2 - 1) ** 2, relative=0.15)
    constant, analytic = repeated(inf.AnalyticKL(), lambda: Copies(p, x, 100, live=PHI), chunks=1)
    assert constant.var() < 1e-20
    assert max(g.var(0).max() for g in analytic.values()) < 1e-20


def test_at_the_prior_the_path_derivative_of_the_divergence_vanishes():
    p, x = divergence_only(torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    _, total = repeated(inf.MonteCarloKL(), lambda: Copies(p, x, 100_000, live=PHI), chunks=1)
    _, path = repeated(inf.StickingTheLanding(), lambda: Copies(p, x, 100, live=PHI), chunks=1)
    assert_variance(total["loc"], 1.0, relative=0.05)
    assert_variance(total["log_scale"], 2.0, relative=0.15)
    assert max(g.abs().max() for g in path.values()) == 0


def one_dimensional(mean, variance=0.5):
    """a = A = 1, M = 2: the posterior is N(mean, 1/2); the guide N(mean, variance)."""
    one, half_log = torch.ones(1, dtype=torch.float64), 0.5 * math.log(variance)
    p = {"weight": one[:, None], "bias": 0 * one, "log_sigma": 0 * one[0]}
    return {**p, "loc": mean * one, "log_scale": half_log * one}, 2 * mean * one


@pytest.mark.parametrize(("factor", "analytic_is_worse"), [(0.7, False), (0.9, False), (1.1, True), (1.4, True)])
def test_a_closed_form_divergence_can_raise_the_variance(factor, analytic_is_worse):
    # At the optimum with a = 1 it does so for the log-scale iff m^2 > (4a + 2) / (1 + a) = 3.
    square = 3 * factor
    p, x = one_dimensional(math.sqrt(square))
    variance = {}
    for name, exact in {"analytic-kl": 0.5 * (square + 1), "monte-carlo-kl": 2.0, "entropy": 2.0}.items():
        _, gradient = repeated(inf.get_elbo(name), lambda: Copies(p, x, 200_000, live=PHI), chunks=1)
        assert_variance(gradient["log_scale"], exact, relative=0.05)
        variance[name] = gradient["log_scale"].var().item()
    assert (variance["analytic-kl"] > variance["monte-carlo-kl"]) == analytic_is_worse


@pytest.mark.parametrize(("s2", "path_is_better"), [(0.3, False), (0.366, True), (0.9, True), (1.1, False)])
def test_the_path_derivative_beats_the_closed_form_in_a_band_of_widths(s2, path_is_better):
    # In the mean, for a = 1, iff 1 / (2a + 1) < s^2 < 1, wherever the guide stands.
    p, x = one_dimensional(0.8, s2)
    variance = {}
    for name, exact in {"analytic-kl": s2, "sticking-the-landing": (2 - 1 / s2) ** 2 * s2}.items():
        _, gradient = repeated(inf.get_elbo(name), lambda: Copies(p, x, 40_000, live=PHI), chunks=1)
        assert_variance(gradient["loc"], exact, relative=0.05)
        variance[name] = gradient["loc"].var().item()
    assert (variance["sticking-the-landing"] < variance["analytic-kl"]) == path_is_better


# The exact posterior ----------------------------------------------------------------------------------------


class PerDatumGaussian(nn.Module):
    """N(loc_n, L_n L_n') with parameters of their own for every datum, as a posterior of LinearGaussianVAE."""

    def __init__(self, loc, scale_tril):
        super().__init__()
        self.loc, self.scale_tril = nn.Parameter(loc), nn.Parameter(scale_tril)

    def forward(self, features):
        return dist.MultivariateNormal(self.loc, scale_tril=self.scale_tril)


@pytest.mark.parametrize(("data_dim", "latent_dim"), MODELS)
def test_at_the_exact_posterior_only_the_path_derivative_has_no_variance(data_dim, latent_dim):
    p, x = workbench(5, data_dim, latent_dim)
    mean, covariance = posterior(p, x)
    guide = PerDatumGaussian(mean.repeat(500, 1), torch.linalg.cholesky(covariance).repeat(500, 1, 1))
    lg = pv.LinearGaussianVAE(p["weight"], p["bias"], p["log_sigma"].exp())
    lg.guide.posterior = guide
    variance = {}
    for name in FORMS:
        torch.manual_seed(0)
        bound = inf.get_elbo(name).per_datum(lg.model, lg.guide, x.repeat(500, 1))
        gradient = torch.autograd.grad(bound.sum(), [guide.loc, guide.scale_tril])
        variance[name] = max(g.tril().var(0).max() if g.dim() == 3 else g.var(0).max() for g in gradient)
        if name in ("monte-carlo-kl", "sticking-the-landing"):
            torch.testing.assert_close(bound, log_evidence(p, x).expand(500), rtol=1e-10, atol=1e-10)
    assert variance["sticking-the-landing"] < 1e-20
    assert min(variance[name] for name in FORMS[:3]) > 1e-2


@pytest.mark.slow
def test_at_the_exact_posterior_of_many_data_amortised_weights_stand_still_under_the_path_derivative():
    p, _ = workbench(6, 6, 3)
    lg = pv.LinearGaussianVAE(p["weight"], p["bias"], p["log_sigma"].exp(), guide="exact")
    x = torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = list(lg.guide.posterior.parameters())
    for name, still in {"sticking-the-landing": True, "monte-carlo-kl": False}.items():
        draws = []
        for seed in range(50):
            torch.manual_seed(seed)
            loss = inf.get_elbo(name)(lg.model, lg.guide)(x)
            draws.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]))
        largest = torch.stack(draws).var(0).max()
        assert (largest < 1e-20) == still


# Identities under common random numbers -------------------------------------------------------------------


def test_gradients_that_must_be_equal_draw_by_draw():
    p, x = workbench(7, 6, 3)
    found = {}
    for name in FORMS:
        torch.manual_seed(0)
        found[name] = estimate(inf.get_elbo(name, num_particles=3), Copies(p, x, 50))[1]
    for parameter in PHI:
        torch.testing.assert_close(
            found["entropy"][parameter], found["monte-carlo-kl"][parameter], rtol=1e-10, atol=1e-10
        )
    for parameter in THETA:
        for name in FORMS:
            torch.testing.assert_close(
                found[name][parameter], found["monte-carlo-kl"][parameter], rtol=1e-10, atol=1e-10
            )


def test_the_path_derivative_differs_from_the_total_one_by_the_score():
    p, x = workbench(7, 6, 3)
    found = {}
    for name in ("monte-carlo-kl", "sticking-the-landing"):
        torch.manual_seed(0)
        found[name] = estimate(inf.get_elbo(name), Copies(p, x, 50))[1]
    torch.manual_seed(0)
    pair = Copies(p, x, 50)
    eps = (pair.posterior().sample() - p["loc"]) / p["log_scale"].exp()
    score = {"loc": eps / p["log_scale"].exp(), "log_scale": eps**2 - 1}
    for parameter in PHI:
        path, total = (found[name][parameter] for name in ("sticking-the-landing", "monte-carlo-kl"))
        torch.testing.assert_close(path - total, score[parameter], rtol=1e-9, atol=1e-9)


# What the closed forms refuse --------------------------------------------------------------------------------


def test_the_divergence_each_form_reports_has_the_bound_as_its_rest():
    p, x = workbench(8, 4, 2)
    for name in FORMS:
        estimator = inf.get_elbo(name, num_particles=2)
        terms = terms_of(p, x, estimator, 30, seed=0)
        rest = (terms.log_likelihood - estimator.kl(terms)).mean(0)
        torch.testing.assert_close(rest, estimator.bound(terms), rtol=1e-12, atol=1e-12)


def test_num_particles_must_be_a_positive_integer():
    for bad in (0, -1, 1.5):
        with pytest.raises(ModelError, match="num_particles must be an integer of at least 1"):
            inf.MonteCarloKL(num_particles=bad)
