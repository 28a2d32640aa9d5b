"""Reweighted wake-sleep: its exact mean at two draws, and the forward divergence that it descends in the limit."""

import pytest
import torch

from ppl_vae import inference as inf
from tests.inference import enumeration
from tests.inference.enumeration import DiscreteCopies, discrete_workbench, expect_constant, expect_tuples, table
from tests.inference.oracles import (
    PHI,
    THETA,
    Copies,
    assert_gradient,
    assert_jointly,
    assert_mean,
    expected_bound,
    expected_surrogate,
    gradient_of,
    kl_from_posterior,
    log_mean_exp,
    posterior,
    repeated,
    without_leading_bias,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def reweighted(log_joint, log_guide):
    """sum_k v_k log q_k, v_k the normalised weights, held constant."""
    weight = (log_joint - log_guide).detach().softmax(0)
    return (weight * log_guide).sum(0)


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(2, 1), (20, 1), (5, 2)])
def test_theta_climbs_the_bound_of_k_draws_and_phi_has_its_documented_mean(data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    bound = lambda p: expected_bound(p, x, log_mean_exp, 2)  # noqa: E731
    exact = gradient_of(bound, p, THETA) | gradient_of(lambda p: expected_surrogate(p, x, reweighted, 2), p, PHI)
    value, gradient = repeated(inf.WakeSleep(2), lambda: Copies(p, x, 200, 100), chunks=5)
    assert_mean(value, bound(p))
    assert_gradient(gradient, exact)


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(4, 1), (8, 3)])
def test_with_many_draws_phi_descends_the_divergence_from_the_posterior(data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    exact = gradient_of(lambda p: -kl_from_posterior(p, x), p, PHI)
    small, large = (
        repeated(inf.WakeSleep(k), lambda: Copies(p, x, 1000, live=PHI), chunks=2, seed=k)[1] for k in (100, 200)
    )
    found, error = without_leading_bias(small, large)
    assert_jointly(found, error, torch.cat([exact[name] for name in PHI]))


@pytest.mark.slow
def test_at_the_optimum_of_the_forward_divergence_the_guide_stands_still():
    p, x = workbench(1, 6, 3)
    mean, covariance = posterior(p, x)
    p = {**p, "loc": mean, "log_scale": 0.5 * covariance.diagonal().log()}
    small, large = (
        repeated(inf.WakeSleep(k), lambda: Copies(p, x, 1000, live=PHI), chunks=2, seed=k)[1] for k in (100, 200)
    )
    found, error = without_leading_bias(small, large)
    assert_jointly(found, error, torch.zeros_like(found))


@pytest.mark.parametrize("kind", ["bits", "category"])
def test_discrete_latents_have_the_enumerated_mean(kind):
    p, x = discrete_workbench(kind, seed=2)
    bound = lambda p: expect_tuples(lambda lp, lq: log_mean_exp(lp - lq), kind, p, x, 2)  # noqa: E731
    exact = gradient_of(bound, p, enumeration.THETA)
    exact |= gradient_of(lambda p: expect_constant(reweighted, kind, p, x, 2), p, enumeration.PHI)
    value, gradient = repeated(inf.WakeSleep(2), lambda: DiscreteCopies(kind, p, x, 10_000), chunks=2)
    assert_mean(value, bound(p))
    assert_gradient(gradient, exact)


@pytest.mark.slow
def test_with_many_draws_a_discrete_guide_descends_the_divergence_from_the_posterior():
    p, x = discrete_workbench("bits", seed=2)

    def cross_entropy(p):
        log_joint, log_guide = table("bits", p, x)
        return (log_joint.detach().softmax(0) * log_guide).sum()

    exact = gradient_of(cross_entropy, p, enumeration.PHI)
    small, large = (
        {"q": repeated(inf.WakeSleep(k), lambda: DiscreteCopies("bits", p, x, 1000), chunks=2, seed=k)[1]["q"]}
        for k in (100, 200)
    )
    found, error = without_leading_bias(small, large)
    assert_jointly(found, error, exact["q"])
