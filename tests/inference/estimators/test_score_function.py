"""Score-function estimators: closed forms with Gaussian latents, exact enumeration with discrete ones."""

import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference import enumeration
from tests.inference.enumeration import DiscreteCopies, discrete_workbench, expect_tuples
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
    expected_bound,
    gradient_of,
    log_mean_exp,
    log_weights,
    normal_nodes,
    precision_and_pull,
    repeated,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ["bits", "category"]


# Gaussian latents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [inf.ScoreFunction, inf.RLOO], ids=["score-function", "rloo"])
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(2, 1), (8, 3), (20, 5)])
def test_value_and_gradient_are_those_of_the_elbo(make, data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    estimator = make()
    value, gradient = repeated(estimator, lambda: Copies(p, x, 200, 200 // estimator.num_draws), chunks=5)
    assert_mean(value, elbo(p, x))
    assert_gradient(gradient, elbo_gradient(p, x))


@pytest.mark.slow
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(2, 1), (5, 2)])
def test_vimco_has_the_value_and_gradient_of_the_bound_of_k_draws(data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    bound = lambda p: expected_bound(p, x, log_mean_exp, 2)  # noqa: E731
    value, gradient = repeated(inf.VIMCO(2), lambda: Copies(p, x, 200, 100), chunks=5)
    assert_mean(value, bound(p))
    assert_gradient(gradient, gradient_of(bound, p, p))


@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
def test_a_weight_on_the_divergence_leaves_them_unbiased(beta):
    p, x = workbench(1, 2, 1)
    nodes, mass = normal_nodes(40, 1)
    single = lambda p: mass @ log_weights(p, x, nodes, beta)  # noqa: E731
    several = lambda p: expected_bound(p, x, log_mean_exp, 2, beta)  # noqa: E731
    for estimator, bound in ((inf.ScoreFunction(), single), (inf.RLOO(3), single), (inf.VIMCO(2), several)):
        value, gradient = repeated(estimator, lambda: Copies(p, x, 200, 200), chunks=1, kl_weight=beta)
        assert_mean(value, bound(p))
        assert_gradient(gradient, gradient_of(bound, p, p))


def quadratic(p, x):
    """f = f0 + v' S^1/2 eps - eps'Q eps / 2 with form A's v and Q (KNOWLEDGE 0.5): f0, al = S^1/2 v, Q, 1/s^2."""
    a, h = precision_and_pull(p, x)
    m, scale = a + torch.eye(len(h), dtype=h.dtype), p["log_scale"].exp()
    q = scale[:, None] * m * scale - torch.eye(len(h), dtype=h.dtype)
    f0 = log_weights(p, x, torch.zeros_like(h))
    return f0, scale * (h - m @ p["loc"]), q, 1 / scale**2


def score_variance(p, x, baseline):
    """The variance of (f - baseline) times the score of the mean, per coordinate."""
    f0, al, q, inverse = quadratic(p, x)
    c, trace, diagonal, square = f0 - baseline, q.trace(), q.diagonal(), (q @ q).diagonal()
    fourth = trace**2 + 2 * (q @ q).trace() + 4 * trace * diagonal + 8 * square
    return inverse * (c**2 + al @ al + al**2 - c * (trace + 2 * diagonal) + fourth / 4)


@pytest.mark.slow
@pytest.mark.parametrize("with_baseline", [False, True])
def test_the_variance_of_the_mean_gradient_is_the_exact_one(with_baseline):
    p, x = workbench(4, 5, 3)
    estimator, mean = inf.ScoreFunction(), torch.zeros((), dtype=torch.float64)
    if with_baseline:
        estimator, mean = at_baseline(elbo(p, x)), elbo(p, x)
    _, gradient = repeated(estimator, lambda: Copies(p, x, 50_000, live=PHI), chunks=4)
    assert_variance(gradient["loc"], score_variance(p, x, mean), relative=0.05)


def at_baseline(value):
    """The estimator with its running average standing still at a constant."""
    estimator = inf.ScoreFunction(baseline="running").double().eval()
    estimator.average.copy_(value)
    estimator.weight.fill_(1.0)
    return estimator


@pytest.mark.slow
def test_the_variance_of_leave_one_out_is_the_exact_one():
    p, x = workbench(4, 5, 3)
    draws = 4
    f0, al, q, inverse = quadratic(p, x)
    v = al * inverse.sqrt()
    mu20, mu02 = al @ al + 0.5 * (q @ q).trace(), inverse
    mu22 = score_variance(p, x, f0 - 0.5 * q.trace()) + v**2
    exact = (mu22 - (draws - 2) / (draws - 1) * v**2 + mu20 * mu02 / (draws - 1)) / draws
    _, gradient = repeated(inf.RLOO(draws), lambda: Copies(p, x, 25_000, live=PHI), chunks=4)
    assert_variance(gradient["loc"], exact, relative=0.05)


def test_leave_one_out_is_the_unbiased_sample_covariance_of_f_and_the_score():
    p, x = workbench(4, 5, 3)
    torch.manual_seed(0)
    _, gradient = estimate(inf.RLOO(6), Copies(p, x, 40))
    torch.manual_seed(0)
    pair = Copies(p, x, 40)
    terms = inf.trace_terms(pair.model, pair.guide, pair.x, num_particles=6, gradient="score")
    score = (terms.sites["z"].value - p["loc"]) / torch.exp(2 * p["log_scale"])
    f = terms.log_weight.unsqueeze(-1)
    covariance = ((f - f.mean(0)) * (score - score.mean(0))).sum(0) / 5
    torch.testing.assert_close(gradient["loc"], covariance, rtol=1e-10, atol=1e-10)


# The running baseline ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_running_baseline_is_unbiased_and_lowers_the_variance_after_warm_up():
    p, x = workbench(4, 5, 3)
    estimator = inf.ScoreFunction(baseline="running").double()
    repeated(estimator, lambda: Copies(p, x, 50, live=PHI), chunks=40, seed=1)
    _, warm = repeated(estimator, lambda: Copies(p, x, 200, live=PHI), chunks=100, seed=2)
    _, plain = repeated(inf.ScoreFunction(), lambda: Copies(p, x, 200, live=PHI), chunks=100, seed=2)
    exact = {name: elbo_gradient(p, x)[name] for name in PHI}
    assert_gradient(warm, exact)
    assert_gradient(plain, exact)
    for name in PHI:
        assert (warm[name].var(0) < 0.5 * plain[name].var(0)).all()
    assert_variance(warm["loc"], score_variance(p, x, elbo(p, x)), relative=0.15)


def test_the_average_is_that_of_earlier_batches_alone():
    p, x = workbench(4, 3, 2)
    estimator = inf.ScoreFunction(baseline="running", decay=0.75).double()
    plain = inf.ScoreFunction()
    means = []
    for step in range(4):
        torch.manual_seed(step)
        _, with_baseline = estimate(estimator, Copies(p, x, 5, live=PHI))
        torch.manual_seed(step)
        value, without = estimate(plain, Copies(p, x, 5, live=PHI))
        torch.manual_seed(step)
        pair = Copies(p, x, 5, live=PHI)
        z = inf.trace_terms(pair.model, pair.guide, pair.x, gradient="score").sites["z"].value[0]
        score = (z - p["loc"]) / torch.exp(2 * p["log_scale"])
        weights = torch.tensor([0.75**age for age in reversed(range(step))], dtype=torch.float64)
        earlier = (weights @ torch.stack(means) / weights.sum()) if step else 0.0
        torch.testing.assert_close(with_baseline["loc"], without["loc"] - earlier * score, rtol=1e-9, atol=1e-9)
        means.append(value.mean())


def test_evaluation_leaves_the_average_alone():
    p, x = workbench(4, 3, 2)
    estimator = inf.ScoreFunction(baseline="running").double()
    estimate(estimator, Copies(p, x, 5))
    before = estimator.average.clone(), estimator.weight.clone()
    estimate(estimator.eval(), Copies(p, x, 5))
    assert (estimator.average, estimator.weight) == before


# Discrete latents -------------------------------------------------------------------------------------------

# estimator -> draws and the bound that is climbed, from log p(x, z) and log q(z)
BOUNDS = {
    "score-function": (lambda: inf.ScoreFunction(), 1, lambda lp, lq: (lp - lq)[0]),
    "score-function-3": (lambda: inf.ScoreFunction(3), 1, lambda lp, lq: (lp - lq)[0]),
    "score-function-running": (
        lambda: inf.ScoreFunction(baseline="running").double(),
        1,
        lambda lp, lq: (lp - lq)[0],
    ),
    "rloo": (lambda: inf.RLOO(3), 1, lambda lp, lq: (lp - lq)[0]),
    "vimco": (lambda: inf.VIMCO(3), 3, lambda lp, lq: log_mean_exp(lp - lq)),
    "tvo-one-interval": (lambda: inf.Thermodynamic(3, num_partitions=1), 1, lambda lp, lq: (lp - lq)[0]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", BOUNDS)
def test_discrete_latents_have_the_enumerated_value_and_gradient(kind, case):
    make, draws, bound = BOUNDS[case]
    p, x = discrete_workbench(kind, seed=1)
    exact = lambda p: expect_tuples(bound, kind, p, x, draws)  # noqa: E731
    value, gradient = repeated(make(), lambda: DiscreteCopies(kind, p, x, 10_000), chunks=2)
    assert_mean(value, exact(p))
    assert_gradient(gradient, gradient_of(exact, p, (*enumeration.THETA, *enumeration.PHI)))


@pytest.mark.parametrize("name", ["analytic-kl", "monte-carlo-kl", "sticking-the-landing", "iwae", "dreg", "cubo"])
def test_discrete_latents_under_a_reparameterised_estimator_are_refused_by_name(name):
    p, x = discrete_workbench("bits")
    with pytest.raises(ModelError, match=r"site 'z': .* has no reparameterised draws; use .* score-function"):
        estimate(inf.get_elbo(name), DiscreteCopies("bits", p, x, 3))


def test_one_draw_cannot_be_left_out():
    for make in (inf.RLOO, inf.VIMCO):
        with pytest.raises(ModelError, match="num_particles must be at least 2, got 1"):
            make(1)


def test_an_unknown_baseline_is_refused_with_the_known_one():
    with pytest.raises(ModelError, match="running"):
        inf.ScoreFunction(baseline="runing")


def test_model_parameters_have_the_reparameterised_gradient_draw_by_draw():
    p, x = workbench(7, 6, 3)
    found = {}
    for name in ("score-function", "monte-carlo-kl"):
        torch.manual_seed(0)
        found[name] = estimate(inf.get_elbo(name, num_particles=3), Copies(p, x, 50))[1]
    for parameter in THETA:
        torch.testing.assert_close(
            found["score-function"][parameter], found["monte-carlo-kl"][parameter], rtol=1e-10, atol=1e-10
        )
