"""Smoothing against ArviZ 0.23 row by row, and against tails whose index is known."""

import math

import numpy as np
import pytest
import torch

from ppl_vae.errors import DataError
from ppl_vae.inference.evidence.pareto import generalised_pareto, smooth, tail_length, threshold
from tests.inference.evidence.psis_reference import khat_of_arviz_1, psislw


def normal(num_samples, num_data=60, seed=0):
    """Log weights from all but constant to far too heavy a tail: [S, N]."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(num_samples, num_data, generator=generator, dtype=torch.float64)
    return draws * torch.linspace(1e-3, 6, num_data, dtype=torch.float64) - 800.0


def assert_as_arviz(log_weight, sort=False):
    found, (expected, khat) = smooth(log_weight), psislw(log_weight.numpy())
    np.testing.assert_allclose(found.khat.numpy(), khat, rtol=0, atol=1e-6)
    ours = found.log_weight.numpy()
    if sort:  # among equal weights it is open which one is given the larger quantile
        ours, expected = np.sort(ours, 0), np.sort(expected, 0)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    return found


@pytest.mark.parametrize("num_samples", [21, 25, 100, 1000, 4000])
def test_equals_arviz_row_by_row(num_samples):
    found = assert_as_arviz(normal(num_samples))
    torch.testing.assert_close(found.log_weight.exp().sum(0), torch.ones(60, dtype=torch.float64))


@pytest.mark.slow
def test_the_rule_of_arviz_1_is_another_tail_and_the_same_fit():
    """Its M is rounded down: 94 of 1000, where ours is 95; of 400 both are 60, and so is k-hat."""
    for num_samples, shorter in ((400, 0), (2500, 0), (1000, 1), (700, 1)):
        log_weight = normal(num_samples) + 800.0
        theirs = khat_of_arviz_1(log_weight)
        length = tail_length(num_samples) - shorter
        top = log_weight.sort(0, descending=True).values[: length + 1]
        top = (top - top[0]).exp()
        shape, _ = generalised_pareto((top[:-1] - top[-1]).flip(0))
        np.testing.assert_allclose(shape, theirs, rtol=0, atol=1e-6)
        assert np.allclose(smooth(log_weight).khat, theirs, rtol=0, atol=1e-6) == (not shorter)


def test_equals_arviz_on_light_and_bounded_tails():
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(1000, 30, generator=generator, dtype=torch.float64)
    found = assert_as_arviz(uniform.log() * torch.linspace(0.01, 3, 30, dtype=torch.float64))
    assert (found.khat < 0).any()


def test_equals_arviz_where_products_of_factors_leave_the_range():
    """Weights over hundreds of orders of magnitude: the mean of logarithms is taken factor by factor."""
    excess = normal(1000).mul(60).sort(0).values[-95:].sub(normal(1000).mul(60).amax(0)).exp()
    assert (excess[-1] / excess[23]).max() > 1e100
    assert_as_arviz(normal(1000) * 60)


@pytest.mark.slow
def test_equals_arviz_with_ties_few_distinct_values_and_zeros():
    ties = (normal(1000) * 2).round() / 2
    assert_as_arviz(ties, sort=True)
    sizes = (smooth(ties).khat.isinf()).sum()
    assert 0 < sizes < 60
    zeros = normal(1000)
    zeros[::3] = -torch.inf
    assert_as_arviz(zeros)


def test_a_mixture_of_kinds_does_not_disturb_its_neighbours():
    mixed = torch.cat([normal(400, 5), torch.zeros(400, 2, dtype=torch.float64), normal(400, 5).round()], 1)
    found = assert_as_arviz(mixed, sort=True)
    assert found.khat[5:7].isinf().all()
    torch.testing.assert_close(found.log_weight[:, 5], torch.full((400,), -math.log(400), dtype=torch.float64))


def test_float32_weights_are_smoothed_in_float64():
    log_weight = normal(500).float()
    found = smooth(log_weight)
    assert found.log_weight.dtype == found.khat.dtype == torch.float64
    assert torch.equal(found.khat, smooth(log_weight.double()).khat)


@pytest.mark.parametrize("k", [-0.5, 0.2, 0.5])
def test_the_fit_finds_the_shape_and_scale_of_a_generalised_pareto(k):
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(2000, 50, generator=generator, dtype=torch.float64)
    excess = (2.0 * ((1 - uniform) ** -k - 1) / k).sort(0).values
    khat, sigma = generalised_pareto(excess)
    # The prior on k, worth ten draws of 2000, moves it by at most half a per cent.
    error = khat.std().item() / math.sqrt(50)
    assert abs(khat.mean().item() - k) < 4 * error + 0.005 * abs(0.5 - k) + 0.002
    assert sigma.mean().item() == pytest.approx(2.0, rel=0.02)


def test_tail_and_threshold():
    assert [tail_length(s) for s in (100, 1000, 4000)] == [20, 95, 190]
    assert tail_length(1000, 0.5) == math.ceil(3 * math.sqrt(2000))
    assert threshold(1000) == pytest.approx(2 / 3)
    assert threshold(10_000) == 0.7


@pytest.mark.parametrize(
    ("log_weight", "message"),
    [
        (torch.zeros(20, 3), r"S of at least 21, found \[20, 3\]"),
        (torch.zeros(100), r"found \[100\]"),
        (torch.full((30, 2), math.nan), "datum 0: expected finite"),
        (torch.tensor([[0.0, -math.inf]]).expand(30, 2), "datum 1"),
    ],
)
def test_bad_weights_are_described(log_weight, message):
    with pytest.raises(DataError, match=message):
        smooth(log_weight)
