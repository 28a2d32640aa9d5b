"""CUBO: exact means at two draws, the chi divergence in closed form with many."""

import math

import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.oracles import (
    PHI,
    THETA,
    Copies,
    assert_gradient,
    assert_jointly,
    assert_mean,
    expected_bound,
    gradient_of,
    log_evidence,
    log_mean_exp,
    posterior,
    repeated,
    without_leading_bias,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def exact_cubo(p, x):
    """log p(x) + log(1 + chi^2(posterior || q)) / 2 (KNOWLEDGE 0.6)."""
    mean, covariance = posterior(p, x)
    precision, guide = torch.linalg.inv(covariance), torch.diag(torch.exp(-2 * p["log_scale"]))
    left, shift = 2 * precision - guide, p["loc"] - mean
    log_dets = [torch.linalg.slogdet(m)[1] for m in (precision, guide, left)]
    log_square = log_dets[0] - 0.5 * log_dets[1] - 0.5 * log_dets[2]
    return log_evidence(p, x) + 0.5 * (log_square + shift @ precision @ torch.linalg.solve(left, guide @ shift))


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(2, 1), (20, 1), (5, 2)])
@pytest.mark.parametrize(("n", "beta"), [(2.0, 1.0), (1.0, 1.0), (2.0, 0.5)])
def test_phi_descends_the_bound_of_two_draws_while_theta_climbs_the_lower_one(data_dim, latent_dim, n, beta):
    p, x = workbench(0, data_dim, latent_dim)
    upper = lambda p: expected_bound(p, x, lambda w: log_mean_exp(n * w) / n, 2, beta)  # noqa: E731
    lower = lambda p: expected_bound(p, x, log_mean_exp, 2, beta)  # noqa: E731
    descent = {name: -g for name, g in gradient_of(upper, p, PHI).items()}
    value, gradient = repeated(inf.CUBO(2, n=n), lambda: Copies(p, x, 200, 100), chunks=5, kl_weight=beta)
    assert_mean(value, upper(p))
    assert_gradient(gradient, gradient_of(lower, p, THETA) | descent)


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(4, 1), (8, 3)])
def test_many_draws_tend_to_the_chi_divergence(data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    exact = gradient_of(lambda p: -exact_cubo(p, x), p, PHI)
    (value_small, small), (value_large, large) = (
        repeated(inf.CUBO(k), lambda: Copies(p, x, 200, live=PHI), chunks=5, seed=k) for k in (200, 400)
    )
    found, error = without_leading_bias(small, large)
    assert_jointly(found, error, torch.cat([exact[name] for name in PHI]))
    found, error = without_leading_bias({"": value_small}, {"": value_large})
    assert_jointly(found, error, exact_cubo(p, x))
    assert exact_cubo(p, x) > log_evidence(p, x)


def test_few_draws_are_biased_low_and_can_fall_under_the_evidence():
    p, x = workbench(0, 4, 1)
    two = expected_bound(p, x, lambda w: log_mean_exp(2 * w) / 2, 2)
    assert two < exact_cubo(p, x)
    value, _ = repeated(inf.CUBO(2), lambda: Copies(p, x, 1000), chunks=1)
    assert (value < log_evidence(p, x)).any()


def test_at_the_exact_posterior_the_bound_is_the_evidence():
    p, x = workbench(2, 3, 1)
    mean, covariance = posterior(p, x)
    p = {**p, "loc": mean, "log_scale": 0.5 * covariance.diagonal().log()}
    value, _ = repeated(inf.CUBO(4), lambda: Copies(p, x, 20), chunks=1)
    torch.testing.assert_close(value, log_evidence(p, x).expand(20), rtol=1e-10, atol=1e-10)
    assert exact_cubo(p, x).item() == pytest.approx(log_evidence(p, x).item(), rel=1e-10)


@pytest.mark.parametrize("options", [{"num_particles": 1}, {"n": 0.5}, {"n": math.nan}])
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(ModelError, match="cubo needs num_particles >= 2 and n >= 1"):
        inf.CUBO(**options)
