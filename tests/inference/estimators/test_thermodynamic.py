"""The thermodynamic objective: exact means at two draws, closed forms of the tempered path with many."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference import enumeration
from tests.inference.enumeration import DiscreteCopies, discrete_workbench, expect_constant, expect_tuples
from tests.inference.oracles import (
    Copies,
    assert_gradient,
    assert_jointly,
    assert_mean,
    elbo,
    elbo_gradient,
    expected_bound,
    expected_surrogate,
    gradient_of,
    log_evidence,
    log_weights,
    normal_nodes,
    repeated,
    tempered_log_weight,
    without_leading_bias,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")

POINTS = [0.0, 0.2, math.sqrt(0.2), 1.0]  # three intervals, log-uniform from 0.2


def make(draws):
    return inf.Thermodynamic(draws, num_partitions=3, first_point=0.2)


def riemann(integrand):
    """The left sum over POINTS."""
    return sum((right - left) * integrand(left) for left, right in pairwise(POINTS))


def self_normalised(log_weight):
    """The value's estimate from log weights [S, n]."""
    return riemann(lambda b: ((b * log_weight).softmax(0) * log_weight).sum(0))


def covariance_gradient(log_joint, log_guide, beta=1.0):
    """Masrani et al. 2019, eq. 11, with the unbiased normaliser of the covariance; weights held constant.

    pi~_b = q w^b, which is the paper's q^(1-b) p^b unless w has a KL weight.
    """
    ratio, count = log_joint - beta * log_guide, len(log_joint)
    log_weight = ratio.detach()

    def at(b):
        weight = (b * log_weight).softmax(0)
        centred = log_weight - (weight * log_weight).sum(0)
        tempered = log_guide + b * ratio
        covariance = (weight * centred * tempered).sum(0) * count / (count - 1)
        return (weight * ratio).sum(0) + covariance

    return riemann(at)


def closed_form(p, x):
    return riemann(lambda b: tempered_log_weight(p, x, b))


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(2, 1), (20, 1), (5, 2)])
@pytest.mark.parametrize("beta", [1.0, 0.0, 0.5, 3.0])
def test_two_draws_have_the_documented_value_and_gradient(data_dim, latent_dim, beta):
    p, x = workbench(0, data_dim, latent_dim)
    surrogate = partial(covariance_gradient, beta=beta)
    exact = gradient_of(lambda p: expected_surrogate(p, x, surrogate, 2, beta), p, p)
    value, gradient = repeated(make(2), lambda: Copies(p, x, 200, 100), chunks=5, kl_weight=beta)
    assert_mean(value, expected_bound(p, x, self_normalised, 2, beta))
    assert_gradient(gradient, exact)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 0.0, 0.5, 2.0])
def test_many_draws_tend_to_the_gradient_of_the_riemann_sum_under_a_weight_too(beta):
    p, x = workbench(1, 4, 1)
    nodes, mass = normal_nodes(80, 1)

    def limit(p):
        log_weight = log_weights(p, x, nodes, beta)
        return riemann(lambda b: (mass.log() + b * log_weight).softmax(0) @ log_weight)

    exact = gradient_of(limit, p, p)
    small, large = (
        repeated(make(s), lambda: Copies(p, x, 200, 5), chunks=2, seed=s, kl_weight=beta)[1] for s in (100, 200)
    )
    found, error = without_leading_bias(small, large)
    assert_jointly(found, error, torch.cat([exact[name].flatten() for name in small]))


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(4, 1), (8, 3)])
def test_many_draws_tend_to_the_closed_form_of_the_tempered_path(data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    exact = gradient_of(lambda p: closed_form(p, x), p, p)
    runs = [repeated(make(s), lambda: Copies(p, x, 200, 5), chunks=2, seed=s) for s in (100, 200)]
    (value_small, small), (value_large, large) = runs
    found, error = without_leading_bias(small, large)
    assert_jointly(found, error, torch.cat([exact[name].flatten() for name in small]))
    found, error = without_leading_bias({"": value_small}, {"": value_large})
    assert_jointly(found, error, closed_form(p, x))
    assert elbo(p, x) < closed_form(p, x) < log_evidence(p, x)


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(2, 1), (8, 3), (20, 5)])
def test_one_interval_is_the_elbo_without_bias(data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    estimator = inf.Thermodynamic(2, num_partitions=1)
    value, gradient = repeated(estimator, lambda: Copies(p, x, 200, 100), chunks=5)
    assert_mean(value, elbo(p, x))
    assert_gradient(gradient, elbo_gradient(p, x))


def test_one_interval_is_the_elbo_draw_by_draw():
    p, x = workbench(1, 6, 3)
    bounds = []
    for estimator in (inf.Thermodynamic(5, num_partitions=1), inf.MonteCarloKL(5)):
        bounds.append(repeated(estimator, lambda: Copies(p, x, 20), chunks=1)[0])
    torch.testing.assert_close(*bounds, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["bits", "category"])
def test_discrete_latents_have_the_enumerated_mean(kind):
    p, x = discrete_workbench(kind, seed=3)
    value = expect_tuples(lambda lp, lq: self_normalised(lp - lq), kind, p, x, 3)
    exact = gradient_of(
        lambda p: expect_constant(covariance_gradient, kind, p, x, 3),
        p,
        (*enumeration.THETA, *enumeration.PHI),
    )
    found, gradient = repeated(make(3), lambda: DiscreteCopies(kind, p, x, 10_000), chunks=2)
    assert_mean(found, value)
    assert_gradient(gradient, exact)


def test_the_partition_is_log_uniform_and_ends_at_one():
    assert make(2).points.tolist() == pytest.approx(POINTS)
    default = inf.Thermodynamic().points.tolist()
    assert default == pytest.approx([0, 10**-1.09, 1])


@pytest.mark.parametrize(
    "options", [{"num_particles": 1}, {"num_partitions": 0}, {"first_point": 0.0}, {"first_point": 1.0}]
)
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(ModelError, match="tvo needs num_particles >= 2"):
        inf.Thermodynamic(**options)
