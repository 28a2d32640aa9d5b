"""Annealing, capacity, free bits and the textbook's reconstruction error, term by term; and their schedules."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.objectives import schedules
from tests.inference.comparisons import off_optimum


def traced(objective, particles=1):
    lg, x = off_optimum(n=5)
    torch.manual_seed(0)
    return lg, inf.trace_terms(lg.model, lg.guide, x, num_particles=particles, gradient=objective.gradient)


def guide_gradient(lg, loss):
    posterior = lg.guide.posterior
    found = torch.autograd.grad(loss, [posterior.offset, posterior.log_scale], retain_graph=True)
    return torch.cat(found)


def test_annealing_weights_with_the_step_and_ends_at_one():
    objective = inf.Annealed("analytic-kl", schedules.linear(10))
    _, terms = traced(objective)
    for step, weight in ((0, 0.0), (5, 0.5), (10, 1.0), (None, 1.0)):
        now = None if step is None else torch.tensor(step)
        expected = -(terms.log_likelihood - weight * terms.kl()).mean()
        torch.testing.assert_close(objective.forward(terms, now), expected)


def test_cyclical_schedule_starts_each_cycle_at_zero_and_ends_at_one():
    schedule = schedules.cyclical(100, cycles=4, ramp=0.5)
    values = [schedule(torch.tensor(s)).item() for s in range(101)]
    assert [values[s] for s in (0, 25, 50, 75)] == [0.0] * 4
    assert values[5] == pytest.approx(5 / 12.5)
    assert all(values[s] == 1.0 for s in (13, 24, 38, 99, 100))
    assert schedule(torch.tensor(1000)).item() == 1.0


def test_sigmoid_schedule_is_a_true_zero_at_the_start():
    schedule = schedules.sigmoid(50)
    values = torch.stack([schedule(torch.tensor(s)) for s in range(60)])
    assert values[0] == 0.0
    assert values[25] == pytest.approx(0.5, abs=1e-6)
    assert torch.allclose(values[50:], torch.ones(10))
    assert (values.diff()[:50] > 0).all()


def test_at_a_true_zero_the_divergence_has_no_gradient():
    objective = inf.Annealed("analytic-kl", schedules.sigmoid(10))
    lg, terms = traced(objective)
    at_start = guide_gradient(lg, objective.forward(terms, torch.tensor(0)))
    torch.testing.assert_close(at_start, guide_gradient(lg, -terms.log_likelihood.mean()))


def test_capacity_pushes_the_divergence_towards_c_from_both_sides():
    objective = inf.AnalyticKL()
    lg, terms = traced(objective)
    kl = terms.kl().mean()
    of_kl, of_likelihood = guide_gradient(lg, kl), guide_gradient(lg, -terms.log_likelihood.mean())
    for capacity, sign in ((kl.item() + 1, -1), (kl.item() - 1, 1)):
        held = inf.Capacity("analytic-kl", gamma=1000.0, capacity=capacity)
        loss = held.forward(terms)
        torch.testing.assert_close(loss, 1000 - terms.log_likelihood.mean())
        torch.testing.assert_close(guide_gradient(lg, loss), sign * 1000 * of_kl + of_likelihood)


def test_capacity_of_zero_is_beta_and_may_rise():
    _, terms = traced(inf.AnalyticKL())
    at_zero = inf.Capacity("analytic-kl", gamma=4.0, capacity=0.0).forward(terms)
    torch.testing.assert_close(at_zero, inf.Beta("analytic-kl", 4.0).forward(terms))
    rising = inf.Capacity("analytic-kl", gamma=2.0, capacity=schedules.linear(10, end=25.0))
    for step, capacity in ((0, 0.0), (5, 12.5), (None, 25.0)):
        now = None if step is None else torch.tensor(step)
        expected = 2 * abs(terms.kl().mean() - capacity) - terms.log_likelihood.mean()
        torch.testing.assert_close(rising.forward(terms, now), expected)


def test_free_bits_have_exactly_no_gradient_below_the_floor():
    lg, terms = traced(inf.AnalyticKL())
    per_dimension = terms.coordinate_kl("z").mean((0, 1))
    low, high = per_dimension.min().item(), per_dimension.max().item()
    all_free = inf.FreeBits("analytic-kl", floor=2 * high).forward(terms)
    torch.testing.assert_close(all_free, 4 * high - terms.log_likelihood.mean())
    assert torch.equal(guide_gradient(lg, all_free), guide_gradient(lg, -terms.log_likelihood.mean()))
    one_free = inf.FreeBits("analytic-kl", floor=(low + high) / 2).forward(terms)
    paid = guide_gradient(lg, per_dimension.max()) + guide_gradient(lg, -terms.log_likelihood.mean())
    torch.testing.assert_close(guide_gradient(lg, one_free), paid)
    none_free = inf.FreeBits("analytic-kl", floor=0.0).forward(terms)
    torch.testing.assert_close(none_free, inf.AnalyticKL().forward(terms))


@pytest.mark.parametrize("group_size", [2, None])
def test_free_bits_by_group(group_size):
    _, terms = traced(inf.AnalyticKL())
    kl = terms.kl().mean().item()
    free = inf.FreeBits("analytic-kl", floor=kl + 1, group_size=group_size).forward(terms)
    assert free.item() == pytest.approx(kl + 1 - terms.log_likelihood.mean().item())
    paid = inf.FreeBits("analytic-kl", floor=kl - 0.1, group_size=group_size).forward(terms)
    assert paid.item() == pytest.approx(kl - terms.log_likelihood.mean().item())


@pytest.mark.parametrize("group_size", [1, None])
def test_free_bits_of_sites_in_another_order_are_refused(group_size):
    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            low = pyro.sample("low", dist.Normal(top, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(low, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            low = pyro.sample("low", dist.Normal(0.5 * x, 0.9).to_event(1))
            pyro.sample("top", dist.Normal(0.5 * low, 0.75).to_event(1))

    free = inf.FreeBits("analytic-kl", floor=0.0, group_size=group_size)
    with pytest.raises(ModelError, match="another order the sum of closed-form KLs is not the KL of the joint"):
        free(model, guide)(torch.zeros(3, 1))


def test_reconstruction_error_is_its_beta_for_the_mean_squared_error():
    """factor * MSE + KL = (2 factor / D) (squared error / 2 + beta KL), beta = D / (2 factor)."""
    lg, terms = traced(inf.AnalyticKL(), particles=3)
    objective = inf.ReconstructionError("analytic-kl", factor=5.0)
    (observed,) = terms.observations.values()
    squared = (observed.value - observed.p.mean).square().sum(-1).mean()
    kl = terms.kl().mean()
    beta = objective.beta(4)
    assert beta == 4 / 10
    torch.testing.assert_close(objective.forward(terms), 2 * 5 / 4 * (0.5 * squared + beta * kl))
    unit_gaussian = 0.5 * squared + 2 * math.log(2 * math.pi)
    gradient = guide_gradient(lg, 2.5 * (unit_gaussian + beta * kl))
    torch.testing.assert_close(guide_gradient(lg, objective.forward(terms)), gradient)


def test_the_root_corresponds_to_no_beta():
    _, terms = traced(inf.AnalyticKL())
    objective = inf.ReconstructionError("analytic-kl", factor=5.0, error="rmse")
    (observed,) = terms.observations.values()
    error = (observed.value - observed.p.mean).square().mean(-1).sqrt().mean()
    torch.testing.assert_close(objective.forward(terms), 5 * error + terms.kl().mean())
    with pytest.raises(ModelError, match="corresponds to a beta"):
        objective.beta(4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: inf.Capacity("iwae", 1.0, 0.0), "Capacity needs a bound that is a log likelihood minus a KL"),
        (lambda: inf.FreeBits("monte-carlo-kl", 0.1), "FreeBits needs closed-form KLs"),
        (lambda: inf.FreeBits("analytic-kl", -0.1), "floor must be at least 0"),
        (lambda: inf.FreeBits("analytic-kl", 0.1, 0), "group_size must be an integer of at least 1"),
        (lambda: inf.ReconstructionError("analytic-kl", 0.0), "factor must be positive"),
        (lambda: inf.ReconstructionError("analytic-kl", 1.0, "mae"), "'mse', 'rmse' or 'ms-ssim', got 'mae'"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ModelError, match=message):
        make()


@pytest.mark.parametrize(
    "objective",
    [
        inf.Annealed("analytic-kl", schedules.cyclical(8)),
        inf.Capacity("monte-carlo-kl", 3.0, schedules.linear(5)),
        inf.FreeBits("analytic-kl", 0.25, 2),
        inf.ReconstructionError("entropy", 10.0, "rmse"),
    ],
    ids=lambda o: type(o).__name__,
)
def test_a_manifest_can_tell_them_from_others(objective):
    words = repr(objective)
    assert type(objective).__name__ in words
    assert " at 0x" not in words
    assert any(part in words for part in ("cyclical(steps=8", "linear(steps=5", "floor=0.25", "factor=10.0"))


def test_a_scalar_site_has_one_coordinate():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    x = torch.linspace(-1, 2, 4)
    terms = inf.trace_terms(model, guide, x, num_particles=2)
    expected = 0.5 * (0.7**2 + (x / 2) ** 2 - 1) - math.log(0.7)
    torch.testing.assert_close(terms.coordinate_kl("z"), expected.expand(2, 4))
    free = inf.FreeBits("analytic-kl", 0.0).forward(terms)
    torch.testing.assert_close(free, inf.AnalyticKL().forward(terms))


@pytest.mark.parametrize("outer", [lambda e: inf.Beta(e, 4.0), lambda e: inf.Annealed(e, schedules.linear(3))])
@pytest.mark.parametrize(
    "inner",
    [inf.TotalCorrelation("monte-carlo-kl", 10), inf.MMD("analytic-kl"), inf.Capacity("analytic-kl", 1.0, 2.0)],
)
def test_a_weight_that_would_not_reach_the_kl_is_refused(outer, inner):
    with pytest.raises(ModelError, match=f"{type(inner).__name__} weights the KL itself"):
        outer(inner)


@pytest.mark.parametrize(
    "make",
    [
        lambda e: inf.Capacity(e, 1.0, 2.0),
        lambda e: inf.FreeBits(e, 0.1),
        lambda e: inf.TotalCorrelation(e, 10),
        lambda e: inf.MMD(e),
        lambda e: inf.ReconstructionError(e, 1.0),
    ],
)
def test_an_objective_with_its_own_kl_takes_no_weighted_one(make):
    with pytest.raises(ModelError, match="which Beta is not"):
        make(inf.Beta("analytic-kl", 4.0))


def test_weights_multiply_where_they_are_passed_on():
    terms = traced(inf.AnalyticKL())[1]
    twice = inf.Beta(inf.Annealed("analytic-kl", schedules.linear(10)), 4.0)
    torch.testing.assert_close(twice.forward(terms, torch.tensor(5)), inf.Beta("analytic-kl", 2.0).forward(terms))
    plain, weighted = inf.DIP("analytic-kl"), inf.Beta(inf.DIP("analytic-kl"), 3.0)
    torch.testing.assert_close(weighted.forward(terms) - plain.forward(terms), 2 * terms.kl().mean())


def test_a_weighted_bound_has_a_value_per_datum():
    lg, x = off_optimum()
    terms = traced(inf.AnalyticKL())[1]
    value = inf.Beta("analytic-kl", 4.0).bound(terms)
    torch.testing.assert_close(value, terms.log_likelihood.mean(0) - 4 * terms.kl().mean(0))
    assert inf.Beta("iwae", 4.0).per_datum(lg.model, lg.guide, x).shape == (len(x),)
    with pytest.raises(ModelError, match="DIP has no value per datum"):
        inf.Beta(inf.DIP("analytic-kl"), 2.0).per_datum(lg.model, lg.guide, x)


@pytest.mark.parametrize("value", ["abc", None, True, math.nan, math.inf, -0.1])
def test_beta_is_a_number_of_at_least_zero(value):
    with pytest.raises(ModelError, match="beta must be"):
        inf.Beta("analytic-kl", value)
