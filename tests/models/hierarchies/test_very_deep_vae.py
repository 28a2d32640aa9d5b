"""Laws of the very deep VAE: sites in one order, closed-form KL by level, gradients, storage, refusals."""

import pyro
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae import models
from ppl_vae.errors import ModelError
from ppl_vae.models.hierarchies.top_down_blocks import resolutions_of

SHAPE = (1, 4, 4)
SITES = [f"z{level}" for level in range(6, 0, -1)]


def made(**options):
    return models.VeryDeepVAE(SHAPE, **{"channels": 1, "width": 4, **options})


def data(n=5):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0)).round()


def test_resolutions_halve_down_to_one_pixel():
    assert resolutions_of(4) == (4, 2, 1)
    assert resolutions_of(32) == (32, 16, 8, 4, 2, 1)
    assert resolutions_of(7) == (7, 1)
    assert resolutions_of(1) == (1,)


def test_guide_and_model_draw_the_levels_in_one_order_and_the_same_path():
    vae, x = made(), data()
    guide = poutine.trace(vae.guide).get_trace(x)
    model = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(x)
    assert guide.stochastic_nodes == model.stochastic_nodes == ["data", *SITES]
    # The state that the guide ends in is what the model decodes.
    torch.testing.assert_close(vae.model.decode(guide.nodes["_RETURN"]["value"]).mean, model.nodes["x"]["fn"].mean)


def test_every_parameter_receives_a_gradient_and_one_datum_is_for_itself():
    vae, x = made().double(), data().double()
    bound = inf.AnalyticKL(3).per_datum(vae, x)
    bound.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in vae.parameters())
    terms = inf.trace_terms(vae, x, num_particles=3)
    values = {name: site.value[1:2, 2:3] for name, site in terms.sites.items()}
    alone = inf.pair.joint.terms_at(vae.model, vae.guide, x[2:3], values)
    torch.testing.assert_close(alone.log_weight[0, 0], terms.log_weight[1, 2])


@pytest.mark.slow
def test_the_closed_form_kl_of_the_levels_is_the_divergence_of_the_joint():
    vae, x = made(), data(2)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(2.0)
        terms = inf.trace_terms(vae, x, num_particles=4000)
        sampled = terms.log_guide - terms.log_prior
    gap = (sampled - terms.kl()).mean(0)
    assert (gap.abs() < 4 * (sampled - terms.kl()).std(0) / 4000**0.5 + 1e-3).all()
    levels = sum(terms.kl(name).mean() for name in SITES)
    assert levels.item() == pytest.approx(terms.kl().mean().item(), rel=1e-5)


@pytest.mark.slow
def test_stock_pyro_agrees_and_draws_are_data(tmp_path):
    vae, x, losses = made(), data(), []
    for elbo in (inf.MonteCarloKL(), pyro.infer.Trace_ELBO()):
        torch.manual_seed(3)
        losses.append(elbo.loss(vae.model, vae.guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert vae.sample(7).shape == (7, *SHAPE)
    assert len(vae.model(size=16).flatten(1).unique(dim=0)) > 1
    vae.save(tmp_path / "model")
    loaded = pv.load(tmp_path / "model")
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))
    assert loaded.config == vae.config


def test_free_bits_are_of_levels_and_an_unused_level_costs_its_floor():
    vae, x = made(), data()
    objective = inf.FreeBits("analytic-kl", 4.0, group_size=None)
    torch.manual_seed(0)
    terms = objective.run(vae.model, vae.guide, x)
    kls = torch.stack([terms.kl(name).mean() for name in SITES])
    assert (kls < 4).all()
    assert objective.forward(terms).item() == pytest.approx((24.0 - terms.log_likelihood.mean()).item(), rel=1e-6)


def test_the_spectral_penalty_is_the_sum_of_largest_singular_values():
    vae = made()
    objective = inf.SpectralNorm("analytic-kl", vae.model, vae.guide, weight=0.5)
    wanted = sum(
        torch.linalg.svdvals(layer.weight.flatten(1))[0]
        for half in (vae.model, vae.guide)
        for layer in half.modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    )
    assert objective.penalty().item() == pytest.approx(wanted.item(), rel=1e-5)
    assert list(objective.parameters()) == []


def test_a_step_with_a_large_gradient_is_left_out_and_moments_do_not_see_it():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = inf.SkippingAdam([weight], lr=0.1, times=2.0)
    # The first norm, 5, is the usual one; a skipped one of 11 counts as 10.
    for gradient, skipped, usual in (
        ([3.0, 4.0], 0, 5.0),
        ([6.0, 8.0], 0, 5.25),
        ([0.0, 11.0], 1, 5.5125),
        ([float("nan"), 0.0], 2, 5.5125),
    ):
        before = weight.detach().clone()
        weight.grad = torch.tensor(gradient)
        taken = optimizer.num_skipped == skipped
        optimizer.step()
        assert optimizer.num_skipped == skipped
        assert torch.equal(before, weight.detach()) != taken
        assert optimizer.param_groups[0]["usual_norm"] == pytest.approx(usual)
    assert optimizer.state[weight]["step"].item() == 2


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e5])
def test_steps_are_followed_whatever_the_size_of_the_gradients_and_again_where_they_have_grown_for_good(size):
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = inf.SkippingAdam([weight])
    for step in range(60):
        weight.grad = torch.full((2,), size * (100.0 if step >= 20 else 1.0))
        optimizer.step()
        if step == 19:
            assert optimizer.num_skipped == 0
    assert 0 < optimizer.num_skipped < 30
    again = inf.SkippingAdam([torch.nn.Parameter(torch.zeros(2))])
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["usual_norm"] == optimizer.param_groups[0]["usual_norm"] > size


def test_what_is_no_square_image_is_refused():
    for shape in ((4,), (1, 4, 5)):
        with pytest.raises(ModelError, match="a very deep VAE needs square images"):
            models.VeryDeepVAE(shape)
