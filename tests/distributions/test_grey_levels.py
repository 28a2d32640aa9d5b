"""Grey levels and missing coordinates against scipy, enumeration and finite differences."""

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from scipy import stats

from ppl_vae.distributions import DiscretisedLogistic, GreyCategorical, GreyLevels, ObservedCoordinates

# Of each comparison of draws with masses.
FALSE_ALARM = 1e-6
LOGISTICS = [(0.5, -3.0), (0.31, -7.7), (0.0, -1.0), (-3.0, -2.0), (2.5, -2.5), (0.5, 3.0), (0.502, -5.0)]


def grey(levels):
    return torch.arange(levels, dtype=torch.float64) / (levels - 1)


def logistic(loc, log_scale, levels=256):
    loc, log_scale = torch.tensor([loc, log_scale], dtype=torch.float64)
    return DiscretisedLogistic(loc, log_scale, levels)


def categorical(levels=7, gain=3.0):
    logits = torch.randn(levels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return GreyCategorical(gain * logits)


@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize(("loc", "log_scale"), LOGISTICS)
def test_logistic_masses_sum_to_one_and_give_mean_and_variance(loc, log_scale, levels):
    p, x = logistic(loc, log_scale, levels), grey(levels)
    mass = p.log_prob(x).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-12)
    assert p.mean.item() == pytest.approx((mass @ x).item(), abs=1e-12)
    assert p.variance.item() == pytest.approx((mass @ x**2 - (mass @ x) ** 2).item(), abs=1e-12)


@pytest.mark.parametrize(("loc", "log_scale"), LOGISTICS)
def test_logistic_masses_are_scipys_in_the_bulk_and_in_both_tails(loc, log_scale):
    """The difference of log distribution functions is taken on the side where they are small."""
    x, h = grey(256).numpy(), 0.5 / 255
    reference = stats.logistic(loc, np.exp(log_scale))
    high = x > loc
    outer = np.where(high, reference.logsf(x - h), reference.logcdf(x + h))
    inner = np.where(high, reference.logsf(x + h), reference.logcdf(x - h))
    # The edges absorb their tails.
    expected = outer + np.log1p(-np.exp(inner - outer))
    expected[0], expected[-1] = reference.logcdf(h), reference.logsf(1 - h)
    assert logistic(loc, log_scale).log_prob(grey(256)).numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_logistic_gradient_equals_finite_differences():
    x = grey(5)[:, None]
    loc, log_scale = (
        torch.tensor(c, dtype=torch.float64, requires_grad=True) for c in zip(*LOGISTICS, strict=True)
    )
    assert torch.autograd.gradcheck(lambda a, b: DiscretisedLogistic(a, b, 5).log_prob(x), (loc, log_scale))


@pytest.mark.parametrize("log_scale", [-7.7, 0.0, 12.0])
@pytest.mark.parametrize("loc", [-50.0, 0.4, 50.0])
def test_logistic_is_finite_in_float32_with_its_gradient(loc, log_scale):
    parameters = torch.tensor([loc, log_scale], requires_grad=True)
    log_prob = DiscretisedLogistic(*parameters).log_prob(grey(256).float())
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(parameters.grad).all()


def test_categorical_masses_are_the_softmax_and_give_mean_and_variance():
    p, x = categorical(), grey(7)
    mass = p.log_prob(x).exp()
    torch.testing.assert_close(mass, torch.softmax(p.logits, -1))
    assert p.mean.item() == pytest.approx((mass @ x).item(), abs=1e-12)
    assert p.variance.item() == pytest.approx((mass @ x**2 - (mass @ x) ** 2).item(), abs=1e-12)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_categorical_finds_the_level_of_a_float32_grey_value(levels):
    logits = torch.randn(levels)
    x = torch.arange(levels, dtype=torch.float32) / (levels - 1)
    torch.testing.assert_close(GreyCategorical(logits).log_prob(x), logits.log_softmax(-1))


@pytest.mark.parametrize("p", [logistic(0.4, -1.0, 7), logistic(0.9, -1.5, 7), categorical(gain=1.0)], ids=repr)
def test_draws_have_the_masses(p):
    x = grey(7)
    draws = p.sample((20000,))
    assert p.support.check(draws).all()
    counts = np.bincount((draws * 6).round().long().numpy(), minlength=7)
    assert stats.chisquare(counts, 20000 * p.log_prob(x).exp().numpy()).pvalue > FALSE_ALARM


@pytest.mark.parametrize("p", [logistic(0.4, -1.0, 7), categorical()], ids=repr)
def test_expansion_and_broadcasting_keep_the_masses(p):
    x = grey(7)
    wide = p.expand((3, 1))
    assert (wide.batch_shape, wide.event_shape, wide.sample((2,)).shape) == ((3, 1), (), (2, 3, 1))
    torch.testing.assert_close(wide.log_prob(x), p.log_prob(x).expand(3, 7))
    assert p.to_event(0).expand((4, 7)).to_event(1).log_prob(x).shape == (4,)


@pytest.mark.parametrize("p", [logistic(0.4, -1.0, 7), categorical()], ids=repr)
def test_a_value_between_levels_is_refused_under_validation(p):
    with pytest.raises(ValueError, match="within the support"):
        p.log_prob(torch.tensor(0.25, dtype=torch.float64))


def test_grey_levels_are_told_from_others():
    found = GreyLevels(5).check(torch.tensor([0.0, 0.25, 1.0, 0.25 + 1e-6, 0.3, -0.25, 1.25, float("nan")]))
    assert found.tolist() == [True, True, True, True, False, False, False, False]


def gaussian(batch=(3,), event=(2, 4)):
    loc = torch.randn(*batch, *event, dtype=torch.float64, requires_grad=True)
    return loc, dist.Normal(loc, 0.7).to_event(len(event))


def test_missing_coordinates_are_left_out_of_the_density_and_of_its_gradient():
    loc, full = gaussian()
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    holes = torch.rand(3, 2, 4) < 0.4
    log_prob = ObservedCoordinates(full).log_prob(x.masked_fill(holes, torch.nan))
    each = stats.norm(loc.detach().numpy(), 0.7).logpdf(x.numpy())
    assert log_prob.detach().numpy() == pytest.approx(np.where(holes, 0, each).sum((1, 2)), abs=1e-12)
    (gradient,) = torch.autograd.grad(log_prob.sum(), loc)
    torch.testing.assert_close(gradient, torch.where(holes, 0.0, (x - loc) / 0.7**2).detach())


def test_without_holes_it_is_the_full_density_and_without_data_nothing():
    _, full = gaussian()
    p, x = ObservedCoordinates(full), full.sample()
    torch.testing.assert_close(p.log_prob(x), full.log_prob(x))
    assert p.log_prob(torch.full_like(x, torch.nan)).tolist() == [0, 0, 0]
    assert torch.equal(p.mean, full.mean)
    assert torch.equal(p.variance, full.variance)


def test_particles_share_the_holes_of_their_datum():
    _, full = gaussian(batch=(5, 3))
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[1, 0] = torch.nan
    log_prob = ObservedCoordinates(full).log_prob(x)
    assert log_prob.shape == (5, 3)
    assert torch.isfinite(log_prob).all()
    wide = ObservedCoordinates(full).expand((2, 5, 3))
    assert torch.equal(wide.log_prob(x)[1], log_prob)
    assert wide.sample().shape == (2, 5, 3, 2, 4)
