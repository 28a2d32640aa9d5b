"""Bounds of several draws, against Gauss-Hermite sums over the noise of all draws, and by their reductions."""

import math
from types import SimpleNamespace

import mpmath
import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.oracles import (
    PHI,
    THETA,
    Copies,
    assert_gradient,
    assert_mean,
    elbo,
    estimate,
    expected_bound,
    gradient_of,
    log_evidence,
    log_mean_exp,
    posterior,
    repeated,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS = [(2, 1), (20, 1), (5, 2)]

# estimator -> (constructor, draws of the value and of theta's gradient with their bound, the same for phi)
L2 = (2, log_mean_exp)
CASES = {
    "iwae": (lambda: inf.ImportanceWeighted(2), L2, L2),
    "dreg": (lambda: inf.DReG(2), L2, L2),
    "miwae": (lambda: inf.MIWAE(2, num_outer=3), L2, L2),
    "piwae": (lambda: inf.PIWAE(1, num_outer=2), L2, (1, lambda w: w[0])),
    "ciwae": (lambda: inf.CIWAE(2, mix=0.3), *2 * [(2, lambda w: 0.3 * w.mean(0) + 0.7 * log_mean_exp(w))]),
    "renyi": (lambda: inf.Renyi(2, alpha=0.5), *2 * [(2, lambda w: 2 * log_mean_exp(w / 2))]),
    "renyi-upper": (lambda: inf.Renyi(2, alpha=-1.0), *2 * [(2, lambda w: log_mean_exp(2 * w) / 2)]),
}


def exact_of(p, x, case, kl_weight=1.0):
    """The exact value and gradient of a row of CASES."""
    _, (draws, bound), (phi_draws, phi_bound) = CASES[case]
    value = expected_bound(p, x, bound, draws, kl_weight)
    theta = gradient_of(lambda p: expected_bound(p, x, bound, draws, kl_weight), p, THETA)
    phi = gradient_of(lambda p: expected_bound(p, x, phi_bound, phi_draws, kl_weight), p, PHI)
    return value, {**theta, **phi}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("data_dim", "latent_dim"), MODELS)
def test_value_and_gradient_are_the_exact_ones(case, data_dim, latent_dim):
    p, x = workbench(0, data_dim, latent_dim)
    exact, exact_gradient = exact_of(p, x, case)
    value, gradient = repeated(CASES[case][0](), lambda: Copies(p, x, 200, 100), chunks=5)
    assert_mean(value, exact)
    assert_gradient(gradient, exact_gradient)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
def test_a_weight_on_the_divergence_is_exact_inside_the_logarithm_too(case, beta):
    p, x = workbench(1, 2, 1)
    exact, exact_gradient = exact_of(p, x, case, beta)
    value, gradient = repeated(CASES[case][0](), lambda: Copies(p, x, 200, 150), chunks=1, kl_weight=beta)
    assert_mean(value, exact)
    assert_gradient(gradient, exact_gradient)


def test_piwae_takes_theta_from_all_draws_and_phi_from_groups():
    p, x = workbench(2, 2, 1)
    theta = gradient_of(lambda p: expected_bound(p, x, log_mean_exp, 4), p, THETA)
    phi = gradient_of(lambda p: expected_bound(p, x, log_mean_exp, 2), p, PHI)
    value, gradient = repeated(inf.PIWAE(2, num_outer=2), lambda: Copies(p, x, 200, 250), chunks=1)
    assert_mean(value, expected_bound(p, x, log_mean_exp, 4))
    assert_gradient(gradient, {**theta, **phi})


def test_the_quadrature_of_the_bounds_has_converged():
    for data_dim, latent_dim in MODELS:
        p, x = workbench(0, data_dim, latent_dim)
        coarse, fine = (expected_bound(p, x, log_mean_exp, 2, order=order) for order in (18, 24))
        assert abs(coarse - fine) < 1e-6
        one, two = elbo(p, x), expected_bound(p, x, log_mean_exp, 2)
        assert expected_bound(p, x, log_mean_exp, 1).item() == pytest.approx(one.item(), rel=1e-10)
        assert one < two < log_evidence(p, x)


# Reductions, draw by draw ---------------------------------------------------------------------------------


def at_one_seed(objective, p, x):
    torch.manual_seed(3)
    return estimate(objective, Copies(p, x, 20))


# Pairs that are the same estimator.
REDUCTIONS = {
    "iwae-1-is-elbo": (inf.ImportanceWeighted(1), inf.MonteCarloKL(1)),
    "miwae-m-1-is-elbo": (inf.MIWAE(1, num_outer=4), inf.MonteCarloKL(4)),
    "miwae-1-k-is-iwae": (inf.MIWAE(4, num_outer=1), inf.ImportanceWeighted(4)),
    "piwae-1-k-is-iwae": (inf.PIWAE(4, num_outer=1), inf.ImportanceWeighted(4)),
    "piwae-1-1-is-elbo": (inf.PIWAE(1, num_outer=1), inf.MonteCarloKL(1)),
    "ciwae-at-1-is-elbo": (inf.CIWAE(4, mix=1.0), inf.MonteCarloKL(4)),
    "ciwae-at-0-is-iwae": (inf.CIWAE(4, mix=0.0), inf.ImportanceWeighted(4)),
    "dreg-1-is-sticking-the-landing": (inf.DReG(1), inf.StickingTheLanding(1)),
    "renyi-at-0-is-iwae": (inf.Renyi(4, alpha=0.0), inf.ImportanceWeighted(4)),
    "renyi-1-draw-is-elbo": (inf.Renyi(1, alpha=0.5), inf.MonteCarloKL(1)),
}


@pytest.mark.parametrize("law", REDUCTIONS)
def test_special_cases_are_other_estimators_draw_by_draw(law):
    p, x = workbench(3, 6, 3)
    (value, gradient), (wanted, wanted_gradient) = (at_one_seed(e, p, x) for e in REDUCTIONS[law])
    torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-10)
    for name in gradient:
        torch.testing.assert_close(gradient[name], wanted_gradient[name], rtol=1e-10, atol=1e-10)


def test_dreg_and_iwae_share_the_model_gradient_draw_by_draw():
    p, x = workbench(3, 6, 3)
    _, dreg = at_one_seed(inf.DReG(5), p, x)
    _, iwae = at_one_seed(inf.ImportanceWeighted(5), p, x)
    for name in THETA:
        torch.testing.assert_close(dreg[name], iwae[name], rtol=1e-10, atol=1e-10)


def test_renyi_tends_to_the_elbo():
    p, x = workbench(3, 6, 3)
    near, _ = at_one_seed(inf.Renyi(4, alpha=1 - 1e-6), p, x)
    bound, _ = at_one_seed(inf.MonteCarloKL(4), p, x)
    torch.testing.assert_close(near, bound, rtol=1e-4, atol=1e-4)


# Signal and noise -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("draws", [2, 8, 32])
def test_dreg_has_iwaes_mean_paired_and_less_noise(draws):
    p, x = workbench(4, 4, 2)
    _, iwae = repeated(inf.ImportanceWeighted(draws), lambda: Copies(p, x, 10_000, live=PHI), chunks=1)
    _, dreg = repeated(inf.DReG(draws), lambda: Copies(p, x, 10_000, live=PHI), chunks=1)
    for name in PHI:
        difference = dreg[name] - iwae[name]
        t = difference.mean(0) / (difference.std(0) / math.sqrt(len(difference)))
        assert t.abs().max() < 4
        assert (dreg[name].var(0) < iwae[name].var(0)).all()


def test_at_the_exact_posterior_dreg_has_no_variance_and_every_bound_is_the_evidence():
    p, x = workbench(5, 3, 1)
    mean, covariance = posterior(p, x)
    p = {**p, "loc": mean, "log_scale": 0.5 * covariance.diagonal().log()}
    for estimator in (inf.ImportanceWeighted(4), inf.DReG(4), inf.MIWAE(2, 2), inf.Renyi(4), inf.CIWAE(4)):
        value, gradient = at_one_seed(estimator, p, x)
        torch.testing.assert_close(value, log_evidence(p, x).expand_as(value), rtol=1e-10, atol=1e-10)
    _, gradient = at_one_seed(inf.DReG(4), p, x)
    assert max(gradient[name].var(0).max() for name in PHI) < 1e-20


def slopes(copies, counts):
    """Slopes of log SNR against log K on the toy of Rainforth et al. 2018 in two dimensions (KNOWLEDGE 2)."""
    eye, zeros = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    x = zeros + 2
    half_log = 0.5 * math.log(2 / 3)
    p = {"weight": eye, "bias": zeros, "log_sigma": zeros[0], "loc": x / 2 - 0.3, "log_scale": zeros + half_log}
    log_snr = {"iwae-phi": [], "dreg-phi": [], "theta": []}
    for draws in counts:
        size = max(1, min(copies, 400_000 // draws))
        for estimator, kind in ((inf.ImportanceWeighted(draws), "iwae-phi"), (inf.DReG(draws), "dreg-phi")):
            pair = lambda size=size: Copies(p, x, size, live=("bias", "loc"))  # noqa: E731
            _, gradient = repeated(estimator, pair, chunks=-(-copies // size), seed=draws)
            log_snr[kind].append(_log_snr(gradient["loc"]))
        log_snr["theta"].append(_log_snr(gradient["bias"]))
    log_counts = torch.tensor(counts, dtype=torch.float64).log()
    centred = log_counts - log_counts.mean()
    return {kind: (centred @ torch.stack(y) / (centred @ centred)).item() for kind, y in log_snr.items()}


def _log_snr(draws):
    return 0.5 * (draws.mean(0).square() / draws.var(0)).mean().log()


# The theory's slopes.
SLOPES = {"iwae-phi": -0.5, "dreg-phi": 0.5, "theta": 0.5}


@pytest.mark.slow
def test_the_signal_to_noise_ratio_falls_for_iwae_and_rises_for_dreg():
    found = slopes(copies=30_000, counts=(4, 16, 64))
    for kind, wanted in SLOPES.items():
        assert found[kind] == pytest.approx(wanted, abs=0.1), kind


@pytest.mark.slow
def test_the_signal_to_noise_slopes_up_to_256_draws():
    found = slopes(copies=80_000, counts=(4, 16, 64, 256))
    for kind, wanted in SLOPES.items():
        assert found[kind] == pytest.approx(wanted, abs=0.1), kind


# What is refused --------------------------------------------------------------------------------------------


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ModelError, match="num_outer must be an integer of at least 1, got 0"):
        inf.MIWAE(2, num_outer=0)
    with pytest.raises(ModelError, match=r"mix must be between 0 and 1, got 1.5"):
        inf.CIWAE(2, mix=1.5)
    with pytest.raises(ModelError, match="use MonteCarloKL"):
        inf.Renyi(2, alpha=1)


@pytest.mark.parametrize("spread", [0.01, 2.0, 300.0])
@pytest.mark.parametrize(
    "alpha", [-1.0, 0.9, 0.99, 0.999, 0.9999, 1 - 1e-6, 1 - 1e-9, 1 + 1e-9, 1 + 1e-5, 1.001, 1.2]
)
def test_renyi_next_to_the_elbo_keeps_its_digits_in_float32(alpha, spread):
    """Against mpmath: the value to 1e-6 of the weights, the gradient to a thousandth of the largest."""
    log_weight = (spread * torch.randn(10, 4, generator=torch.Generator().manual_seed(1)) - 500).requires_grad_()
    bound = inf.Renyi(10, alpha).bound(
        SimpleNamespace(log_weight=log_weight, log_likelihood=log_weight, whole=None, subsampled=None)
    )
    (gradient,) = torch.autograd.grad(bound.sum(), log_weight)
    with mpmath.workdps(60):
        power = 1 - mpmath.mpf(alpha)
        for n in range(4):
            w = [mpmath.exp(power * mpmath.mpf(v)) for v in log_weight[:, n].tolist()]
            exact = mpmath.log(sum(w) / 10) / power
            assert abs(bound[n].item() - exact) < 1e-4 + 1e-6 * abs(exact)
            weights = [float(v / sum(w)) for v in w]
            assert gradient[:, n].tolist() == pytest.approx(weights, rel=1e-3, abs=1e-3 * max(weights))
