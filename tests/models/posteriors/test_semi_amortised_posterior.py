"""Refinement against closed forms of the linear-Gaussian model (KNOWLEDGE 0.1) and exact ELBOs by quadrature."""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models import SemiAmortisedPosterior
from ppl_vae.models.posteriors.semi_amortised_posterior import cubature_points
from tests.scenarios import all_binary, binary_mlp, draw_data, linear_gaussian, quadrature_elbo


def refined_guide(**options):
    """A linear-Gaussian model whose guide starts far off, and data [8, 5]."""
    exact = linear_gaussian(seed=0, data_dim=5, latent_dim=3)
    lg = pv.LinearGaussianVAE(exact.weight, exact.bias, exact.sigma.item(), SemiAmortisedPosterior(**options))
    return lg, draw_data(exact, 8)


def precision_and_pull(lg, x):
    """M [L, L] and h [N, L] of the exact posterior N(M^-1 h, M^-1)."""
    scaled = lg.weight.detach() / lg.sigma.detach().square()
    return scaled.mT @ lg.weight.detach() + torch.eye(3, dtype=x.dtype), (x - lg.bias.detach()) @ scaled


@pytest.mark.parametrize("steps", ["natural", "plain"])
def test_one_step_is_the_closed_form(steps):
    """With u = h - M mu: mu + a u and log s + a (1 - s^2 M_jj), natural ones times s^2 and 1/2."""
    lg, x = refined_guide(num_steps=1, step_size=0.005, steps=steps)
    q, refined = lg.guide.amortised(x), lg.encode(x)
    precision, pull = precision_and_pull(lg, x)
    by_loc = pull - q.mean @ precision
    by_log_scale = 1 - q.variance * precision.diagonal()
    metric = (q.variance, 0.5) if steps == "natural" else (1.0, 1.0)
    torch.testing.assert_close(refined.mean, q.mean + 0.005 * metric[0] * by_loc, rtol=1e-9, atol=1e-9)
    expected = q.stddev.log() + 0.005 * metric[1] * by_log_scale
    torch.testing.assert_close(refined.stddev.log(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"num_steps": 200}, {"num_steps": 600, "steps": "plain", "step_size": 0.05}])
def test_many_steps_reach_the_mean_field_optimum(options):
    """mu* = M^-1 h, s*^2 = 1 / M_jj and the gap 1/2 [sum log M_jj - log det M], to 1e-6."""
    lg, x = refined_guide(**options)
    precision, pull = precision_and_pull(lg, x)
    with torch.no_grad():
        q, gap = lg.encode(x), lg.log_evidence(x) - lg.elbo(x)
    torch.testing.assert_close(q.mean, torch.linalg.solve(precision, pull.mT).mT, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(q.variance, precision.diagonal().reciprocal().expand(8, 3), rtol=1e-6, atol=1e-6)
    least = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    torch.testing.assert_close(gap, least.expand(8), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_no_step_lowers_a_bound_even_if_it_is_far_too_long():
    bounds = []
    for num_steps in (1, 2, 4, 8, 16):
        lg, x = refined_guide(num_steps=num_steps, step_size=50.0, steps="plain")
        bounds.append(lg.elbo(x))
    lg.guide.posterior.num_steps = 0
    bounds = torch.stack([lg.elbo(x), *bounds])
    assert (bounds.diff(dim=0) >= 0).all()
    assert (bounds[-1] > bounds[0] + 1).all()


@pytest.mark.parametrize("steps", ["natural", "plain"])
def test_no_step_changes_a_scale_by_more_than_a_factor_of_e(steps):
    """A steep decoder's slope by log s is some -1e6; a step along it would leave no scale at all."""
    start, slope = torch.zeros(1, 4), torch.tensor([[0.5, -0.25, -1e6, 1e6]])
    found = SemiAmortisedPosterior(steps=steps)._step(start, slope, torch.ones(1, 1))
    torch.testing.assert_close(found, torch.tensor([[0.5, -0.25, -1.0, 1.0]]))


@pytest.mark.parametrize("latent_dim", [1, 2, 7])
def test_cubature_points_have_the_moments_of_a_normal_to_the_third(latent_dim):
    points = cubature_points(torch.zeros(1, latent_dim, dtype=torch.float64))
    assert points.shape == (2 * latent_dim, latent_dim)
    assert points.mean(0).abs().max() < 1e-12
    second = points.mT @ points / len(points)
    torch.testing.assert_close(second, torch.eye(latent_dim, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.einsum("ni,nj,nk->ijk", points, points, points).abs().max() < 1e-12


def with_refinement(vae, **options):
    """The same model, its guide's output refined."""
    twin = pv.VAE(
        vae.event_shape, vae.latent_dim, network=(vae.guide.encoder, vae.model.decoder),
        posterior=SemiAmortisedPosterior(**options),
    ).double()  # fmt: skip
    with torch.no_grad():
        for name, factor in (("loc_head", 1.0), ("scale_head", 0.5)):
            theirs, ours = (getattr(v.guide.posterior, name) for v in (vae, twin))
            for to, of in zip(ours.parameters(), theirs.parameters(), strict=True):
                to.copy_(factor * of)
    return twin


@pytest.mark.slow
def test_the_exact_elbo_rises_for_every_datum_under_a_decoder_that_is_not_linear():
    """By 64^2-point quadrature, though the guide climbs by 4 points: 0.3 nats on average, and none falls."""
    vae, x = binary_mlp(), all_binary()
    refined = with_refinement(vae, num_steps=10)
    torch.testing.assert_close(refined.guide.amortised(x).stddev, vae.encode(x).stddev)
    gain = quadrature_elbo(refined, x) - quadrature_elbo(vae, x)
    assert gain.min() > 0
    assert gain.mean() > 0.3


@pytest.fixture(scope="module")
def trained():
    """A semi-amortised VAE trained on the digits, in evaluation mode and without gradients left."""
    ds = pv.load_dataset("digits", binarize="dynamic")
    network = {"name": "mlp", "hidden": (100,)}
    recipe = pv.make("vae", ds.event_shape, latent_dim=4, network=network, posterior="semi-amortised")
    pv.fit(recipe, ds, epochs=4, batch_size=64, lr=5e-3, device="cpu", progress=False)
    recipe.vae.zero_grad(set_to_none=True)
    return recipe.vae, ds.test.x


@pytest.mark.slow
@torch.no_grad()
def test_on_held_out_digits_the_refined_elbo_is_above_the_amortised_one(trained):
    """On the same draws. The mean by more than 5 standard errors, and no datum below by more than 4 of its own."""
    vae, x = trained
    elbos = []
    for encode in (vae.guide.encode, vae.guide.amortised):
        q = encode(x)
        torch.manual_seed(0)
        z = q.mean + q.stddev * torch.randn(400, len(x), vae.latent_dim)
        log_joint = vae.decode(z).log_prob(x) + vae.model.prior().log_prob(z)
        elbos.append(log_joint - q.log_prob(z))
    gain = elbos[0] - elbos[1]
    mean, error = gain.mean(0), gain.std(0) / math.sqrt(len(gain))
    assert mean.mean() > 5 * mean.std() / math.sqrt(len(x))
    assert (mean > -4 * error - 0.01).all()


@pytest.mark.slow
def test_the_refinement_is_the_same_with_and_without_gradients_and_needs_no_draws(trained):
    vae, x = trained
    before = torch.get_rng_state()
    with torch.no_grad():
        expected = vae.encode(x[:5])
    assert not expected.mean.requires_grad
    found = vae.encode(x[:5])
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.stddev, expected.stddev)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in vae.parameters())


def test_without_second_order_the_encoder_gets_the_gradient_at_the_refined_guide_and_the_decoder_none_through_it():
    lg, x = refined_guide(num_steps=3, second_order=False)
    refined = lg.encode(x)
    weights = torch.randn(2, 8, 3, dtype=torch.float64)
    total = (weights[0] * refined.mean + weights[1] * refined.stddev.log()).sum()
    found = torch.autograd.grad(total, list(lg.parameters()), allow_unused=True)
    q = lg.guide.amortised(x)
    as_if = (weights[0] * q.mean + weights[1] * q.stddev.log()).sum()
    expected = torch.autograd.grad(as_if, list(lg.parameters()), allow_unused=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)


def test_second_order_gradients_are_those_of_finite_differences():
    """Of the exact ELBO of the refined guide, by every parameter of encoder, decoder and likelihood."""
    lg, x = refined_guide(num_steps=3, step_size=0.02)
    parameters = list(lg.parameters())
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    gradient = torch.autograd.grad(lg.elbo(x).sum(), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)).item()
    h, values = 1e-5, []
    with torch.no_grad():
        for move in (h, -2 * h):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=move)
            values.append(lg.elbo(x).sum().item())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("steps", ["natural", "plain"])
def test_steps_into_overflowing_rates_leave_the_gradients_finite_differences(steps):
    """Counts near 100 under a decoder that starts at rate 1: a step to rates above exp(709) is not taken."""
    part = SemiAmortisedPosterior(num_steps=12, step_size=30.0, steps=steps)
    vae = pv.VAE((6,), 2, likelihood="poisson", posterior=part, seed=0).double()
    x = torch.poisson(torch.full((5, 6), 100.0, dtype=torch.float64), torch.Generator().manual_seed(0))
    parameters = list(vae.parameters())

    def total():
        q = vae.encode(x)
        return (q.mean.sin() + q.stddev.log()).sum()

    gradient = torch.autograd.grad(total(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True) if g is not None).item()
    h, values = 1e-7, []
    with torch.no_grad():
        for move in (h, -2 * h):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=move)
            values.append(total().item())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "zero-inflated-poisson"])
def test_counts_have_gradients_at_untrained_weights(likelihood):
    generator = torch.Generator().manual_seed(0)
    x = torch.poisson(200 * torch.rand(16, 30, generator=generator), generator)
    for seed in range(3):
        vae = pv.VAE((30,), 4, likelihood=likelihood, posterior="semi-amortised", seed=seed)
        inf.AnalyticKL()(vae.model, vae.guide)(x).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in vae.parameters())


def test_no_bound_to_climb_from_leaves_the_encoders_output():
    """A count of 0 at a rate that overflows at the encoder's output has a bound of -inf there."""
    vae = pv.VAE((3,), 2, likelihood="poisson", posterior="semi-amortised", seed=0)
    with torch.no_grad():
        vae.guide.posterior.loc_head.bias += 1e6
    x = torch.zeros(4, 3)
    refined, q = vae.encode(x), vae.guide.amortised(x)
    torch.testing.assert_close(refined.mean, q.mean)
    gradient = torch.autograd.grad(refined.mean.sum(), vae.guide.posterior.loc_head.bias)[0]
    torch.testing.assert_close(gradient, torch.full((2,), 4.0))


def test_chunks_do_not_change_it(monkeypatch):
    lg, x = refined_guide()
    expected = lg.encode(x).mean
    monkeypatch.setattr("ppl_vae.models.posteriors.semi_amortised_posterior.CHUNK_NUMBERS", 3 * 6 * 5)
    torch.testing.assert_close(lg.encode(x).mean, expected)


def test_a_frozen_encoder_can_be_refined_through():
    lg, x = refined_guide()
    lg.guide.requires_grad_(False)
    inf.MonteCarloKL()(lg.model, lg.guide)(x).backward()
    assert lg.weight.grad.abs().max() > 0


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("name", ["iwae", "dreg", "wake-sleep", "sticking-the-landing", "rloo"])
def test_it_goes_under_every_family_of_estimators(name, second_order):
    part = SemiAmortisedPosterior(second_order=second_order)
    vae, x = pv.VAE((4,), 2, posterior=part), torch.rand(5, 4).round()
    inf.get_elbo(name, num_particles=3)(vae.model, vae.guide)(x).backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in vae.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
        ({"step_size": -1.0}, "step_size must be positive and finite, got -1.0"),
        ({"steps": "newton"}, "unknown steps 'newton'. Known: natural, plain"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        pv.VAE((4,), 2, posterior={"name": "semi-amortised", **options})
