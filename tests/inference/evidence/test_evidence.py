"""log p(x) by importance sampling: the linear-Gaussian closed form, quadrature, and the laws of a bound."""

import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.evidence import jackknife
from tests.inference.oracles import assert_jointly
from tests.scenarios import (
    all_binary,
    binary_mlp,
    draw_data,
    linear_gaussian,
    quadrature_elbo,
    quadrature_evidence,
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_at_the_exact_posterior_with_any_number_of_draws(dtype):
    lg = linear_gaussian(guide="exact").to(dtype)
    x = draw_data(linear_gaussian(guide="exact"), 9).to(dtype)
    found = pv.log_evidence(lg, x, num_samples=7)
    floor = 1e-10 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found.per_datum, lg.log_evidence(x).detach().double(), rtol=0, atol=100 * floor)
    assert found.per_datum_stderr.max() < 10 * floor
    assert found.per_datum.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("method", ["importance", "jackknife"])
def test_within_its_own_error_of_the_closed_form(method):
    lg = linear_gaussian(seed=1)
    x = draw_data(lg, 200)
    found = pv.log_evidence(lg, x, method, num_samples=4000)
    with torch.no_grad():
        z = (found.per_datum - lg.log_evidence(x)) / found.per_datum_stderr
    assert z.abs().max() < 4.5
    # The errors are neither too small nor too large.
    assert 0.7 < z.square().mean().item() < 1.4
    assert found.stderr == pytest.approx(found.per_datum_stderr.square().sum().sqrt().item() / 200)
    assert found.data_stderr == pytest.approx(found.per_datum.std().item() / math.sqrt(200))
    assert found.mean == pytest.approx(found.per_datum.mean().item())


def test_the_exact_method_is_the_models_own_closed_form():
    lg = linear_gaussian()
    x = draw_data(lg, 5)
    found = pv.log_evidence(lg, x, "exact")
    assert torch.equal(found.per_datum, lg.log_evidence(x).detach())
    assert (found.stderr, found.method, found.num_samples) == (0.0, "exact", 0)


@pytest.mark.slow
@pytest.mark.parametrize("memory_limit", [1 << 13, 1 << 20])
def test_no_number_depends_on_the_passes(memory_limit):
    lg = linear_gaussian()
    x = draw_data(lg, 50)
    whole = pv.log_evidence(lg, x, num_samples=130)
    cut = pv.log_evidence(lg, x, num_samples=130, memory_limit=memory_limit)
    torch.testing.assert_close(cut.per_datum, whole.per_datum, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(cut.per_datum_stderr, whole.per_datum_stderr, rtol=1e-8, atol=1e-10)
    alone = pv.log_evidence(lg, x[:9], num_samples=130)
    torch.testing.assert_close(alone.per_datum, whole.per_datum[:9], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_without_a_gaussian_guide_passes_change_the_draws_and_nothing_else():
    vae = pv.VAE((4,), 2, likelihood="gaussian", posterior="flow", seed=0).double()
    x = torch.randn(20, 4, dtype=torch.float64)
    whole = pv.log_evidence(vae, x, num_samples=500)
    cut = pv.log_evidence(vae, x, num_samples=500, memory_limit=1 << 16)
    z = (whole.per_datum - cut.per_datum) / (whole.per_datum_stderr**2 + cut.per_datum_stderr**2).sqrt()
    assert 0 < z.abs().max() < 4


def test_the_jackknife_is_its_definition():
    generator = torch.Generator().manual_seed(0)
    log_weight = 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64) - 700
    log_weight[:, 4] = torch.tensor([0.0, -800, -790, -805, -810, -799])  # one draw outweighs all
    left_out = [log_mean_exp(log_weight[[j for j in range(6) if j != k]]) for k in range(6)]
    expected = 6 * log_mean_exp(log_weight) - 5 * torch.stack(left_out).mean(0)
    torch.testing.assert_close(jackknife(log_weight), expected, rtol=1e-10, atol=1e-9)


def test_the_bias_falls_like_one_over_k_and_the_jackknifes_faster():
    """K (log p - E L_K) -> chi^2 / 2 (KNOWLEDGE 0.6), for a guide whose chi^2 is known."""
    lg = linear_gaussian(seed=2, data_dim=4, latent_dim=1, guide="mean-field")
    with torch.no_grad():
        lg.guide.posterior.log_scale += 0.5 * math.log(2.0)  # variance a = 2 times the posterior's
        x = draw_data(lg, 1).expand(2000, -1).contiguous()
        exact = lg.log_evidence(x[:1]).item()
    chi2 = math.sqrt(2.0) / math.sqrt(2 - 1 / 2) - 1
    curve = inf.evidence_curve(lg, x, (8, 16))
    bias = curve["importance"] - exact
    error = curve["importance_stderr"]
    assert float(16 * abs(bias[1] + chi2 / 32)) < 4 * 16 * float(error[1]) + 0.1 * chi2 / 2
    assert float(8 * abs(bias[0] + chi2 / 16)) < 4 * 8 * float(error[0]) + 0.2 * chi2 / 2
    assert abs(float(curve["jackknife"][1]) - exact) < 4 * float(curve["jackknife_stderr"][1]) + 1e-4


@pytest.mark.slow
def test_bounds_come_in_order_on_a_binary_decoder():
    vae = binary_mlp()
    x = all_binary()
    counts = (1, 4, 16, 64, 1024)
    curve = inf.evidence_curve(vae, x, counts)
    log_p, elbo = quadrature_evidence(vae, x).mean().item(), quadrature_elbo(vae, x).mean().item()
    bound, error = curve["importance"].to_numpy(), curve["importance_stderr"].to_numpy()
    assert abs(bound[0] - elbo) < 4 * error[0]
    assert all(low < high + 3 * e for low, high, e in zip(bound, bound[1:], error[1:], strict=False))
    assert bound[0] + 4 * error[0] < bound[2] < log_p + 3 * error[2]
    assert abs(bound[-1] - log_p) < 4 * error[-1] + 1e-3
    single = pv.log_evidence(vae, x, num_samples=1024)
    np.testing.assert_allclose(bound[-1], single.mean, rtol=1e-10)
    np.testing.assert_allclose(error[-1], single.stderr, rtol=1e-8)


@pytest.mark.slow
def test_the_errors_of_the_curve_are_the_spread_over_seeds():
    lg = linear_gaussian()
    with torch.no_grad():  # wider than the posterior: bounded weights, whose few draws show their variance
        lg.guide.posterior.log_scale += 0.5
    x = draw_data(lg, 5)
    curves = [inf.evidence_curve(lg, x, (2, 50), seed=seed) for seed in range(100)]
    for name, k in itertools.product(("importance", "jackknife"), (2, 50)):
        values = np.array([float(c[name].sel(num_samples=k)) for c in curves])
        claimed = np.mean([float(c[f"{name}_stderr"].sel(num_samples=k)) for c in curves])
        # The relative error of a standard deviation of 100 numbers is 7%.
        assert values.std(ddof=1) == pytest.approx(claimed, rel=0.3)


def test_seeds_and_streams():
    lg = linear_gaussian()
    x, before = draw_data(lg, 5), torch.get_rng_state()
    first, again, other = (pv.log_evidence(lg, x, num_samples=50, seed=s).per_datum for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    # Evaluation under the same seed has other draws: the means of log w and of its terms differ.
    assert not torch.equal(pv.log_evidence(lg, x, num_samples=2).per_datum, pv.evaluate(lg, x, 2).elbo)


def test_more_draws_go_on_where_fewer_ended():
    lg = linear_gaussian()
    x = draw_data(lg, 3)
    few, many = (
        pv.diagnostics.run_importance(lg, x, s, keep_weights=True)["log_weight"].to_numpy() for s in (100, 300)
    )
    np.testing.assert_allclose(few, many[:100], rtol=1e-12)


def test_the_joint_of_data_is_held_to_one_false_alarm_rate():
    lg = linear_gaussian(seed=5)
    x = draw_data(lg, 64)
    found = pv.log_evidence(lg, x, num_samples=3000)
    with torch.no_grad():
        assert_jointly(found.per_datum, found.per_datum_stderr, lg.log_evidence(x), magnitude=100.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda lg, x: pv.log_evidence(lg, x, "iwae"), ModelError, "unknown method 'iwae'"),
        (lambda lg, x: pv.log_evidence(lg, x, num_samples=1), ModelError, "num_samples must be"),
        (lambda lg, x: pv.log_evidence(lg, x, start="guide"), ModelError, "method 'importance' takes no start"),
        (lambda lg, x: pv.log_evidence((lg.model, lg.guide), x, "exact"), ModelError, r"has no log_evidence\(x\)"),
        (lambda lg, x: pv.log_evidence(lg, x[:0]), DataError, "empty"),
        (lambda lg, x: pv.log_evidence(lg, x[:, :2]), ModelError, r"expected data of shape \[N, 5\]"),
        (
            lambda lg, x: pv.log_evidence(lg, x, "ais", temperatures=3),
            ModelError,
            "did you mean 'num_temperatures'",
        ),
        (lambda lg, x: pv.log_evidence(lg, x, seed=None), ModelError, "seed must be an integer, got None"),
        (lambda lg, x: inf.evidence_curve(lg, x, 5), ModelError, "num_samples: expected increasing numbers.*got 5"),
        (lambda lg, x: inf.evidence_curve(lg, x, (5, 2)), ModelError, "increasing"),
        (lambda lg, x: inf.evidence_curve(lg, x, ()), ModelError, "at least one"),
    ],
)
def test_bad_input_is_described(call, error, message):
    lg = linear_gaussian()
    with pytest.raises(error, match=message):
        call(lg, draw_data(lg, 3))


def test_a_datum_without_any_weight_is_named():
    lg = linear_gaussian()
    x = draw_data(lg, 40)
    x[33] = 1e200
    with pytest.raises(ModelError, match="datum 33: an importance weight is NaN or infinite, or all are zero"):
        pv.log_evidence(lg, x, num_samples=30, memory_limit=1 << 16)


def shaken(x):
    """A guide of the usual conjugate pair that one draw, which the model has not, shifts for all data alike."""
    shift = pyro.sample("shift", dist.Normal(0.0, 0.3))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.4 * x + shift, 0.8))


def conjugate(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


@pytest.mark.parametrize(
    ("method", "options"),
    [("importance", {"num_samples": 4000}), ("jackknife", {"num_samples": 4000}),
     pytest.param("ais", {"num_samples": 16, "num_temperatures": 30, "num_global": 2}, marks=pytest.mark.slow)],
)  # fmt: skip
def test_over_draws_that_the_guide_alone_has_the_evidence_is_of_the_model(method, options):
    """Whatever is drawn beside z, E p(x, z) / q(z | x, shift) = p(x): the model has no global site to be given."""
    x = torch.tensor([0.3, -1.0, 2.0, 0.5])
    found = pv.log_evidence((conjugate, shaken), x, method, **options, progress=False)
    assert found.quantity == "log p(x)"
    assert abs(found.mean - dist.Normal(0.0, 2**0.5).log_prob(x).mean().item()) < 4 * found.stderr


def test_over_such_draws_batches_have_their_evidence_too():
    x = torch.tensor([0.3, -1.0, 2.0, 0.5])
    found = pv.log_evidence((conjugate, shaken), [x[:3], x[3:]], num_samples=4000)
    assert found.quantity == "log p(x)"
    assert abs(found.mean - dist.Normal(0.0, 2**0.5).log_prob(x).mean().item()) < 4 * found.stderr


def test_a_score_is_not_told_as_a_log_density():
    """Of grey pixels under the relaxed Bernoulli it was told as "log p(x)"."""
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    relaxed, normalised = (
        pv.VAE((4,), 2, likelihood=name) for name in ("bernoulli-relaxed", "continuous-bernoulli")
    )
    for data in (x, [x[:3], x[3:]]):
        found = pv.log_evidence(relaxed, data, num_samples=10)
        assert found.quantity.startswith("reconstruction score and no log p(x)")
        assert pv.log_evidence(normalised, data, num_samples=10).quantity == "log p(x)"
    assert "reconstruction score" in found._repr_html_()
