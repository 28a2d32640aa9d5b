"""The exact band and p-value against simulation and against sums that are written out."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ppl_vae.diagnostics.calibration.uniformity import ecdf, ecdf_bands, lean, uniformity_p_value
from ppl_vae.errors import ModelError


def uniform_counts(size, parts, repeats, seed=0):
    """Counts below k / parts of ``repeats`` uniform samples: [repeats, parts - 1]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(size, np.full(parts, 1 / parts), repeats).cumsum(1)[:, :-1]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "parts", "level"), [(100, 20, 0.9), (1000, 100, 0.95), (50, 100, 0.99)])
def test_uniform_samples_stay_inside_the_bands_as_often_as_said(size, parts, level):
    bands = ecdf_bands(size, parts, level)
    share = uniform_counts(size, parts, 20_000) / size
    inside = ((share >= bands.lower) & (share <= bands.upper)).all(1).mean()
    assert bands.level >= level
    assert abs(inside - bands.level) < 4 * math.sqrt(level * (1 - level) / 20_000)


def test_the_level_is_a_sum_over_all_samples():
    """Four numbers in three parts: every table of counts is enumerated."""
    bands = ecdf_bands(4, 3, 0.5)
    probability = 0.0
    for first, second in itertools.product(range(5), repeat=2):
        third = 4 - first - second
        if third < 0:
            continue
        share = np.array([first, first + second]) / 4
        if ((share >= bands.lower) & (share <= bands.upper)).all():
            probability += stats.multinomial.pmf([first, second, third], 4, [1 / 3] * 3)
    assert bands.level == pytest.approx(probability, rel=1e-12)


def test_bands_are_symmetric_and_no_narrower_than_those_of_one_point():
    bands = ecdf_bands(400, 50)
    assert np.allclose(bands.lower, 1 - bands.upper[::-1])
    assert (bands.upper >= stats.binom.ppf(0.975, 400, bands.fraction) / 400).all()


@pytest.mark.slow
def test_p_values_of_uniform_samples_are_uniform():
    generator = np.random.default_rng(1)
    p_values = np.array([uniformity_p_value(generator.random(150), 30) for _ in range(1000)])
    for level in (0.01, 0.05, 0.2, 0.5):
        assert abs((p_values <= level).mean() - level) < 4 * math.sqrt(level * (1 - level) / 1000) + 0.003


def test_a_sample_is_outside_the_bands_exactly_where_its_p_value_is_below_the_level():
    generator = np.random.default_rng(2)
    bands = ecdf_bands(80, 20, 0.8)
    for _ in range(200):
        sample = generator.random(80)
        share = ecdf(sample, 20)
        outside = ((share < bands.lower) | (share > bands.upper)).any()
        assert outside == (uniformity_p_value(sample, 20) <= 1 - bands.level + 1e-12)


def test_far_from_uniform_the_p_value_is_the_sum_of_the_tails():
    """200 numbers below 1/2: a two-sided tail of 2 * 2^-200 at the worst of nine points."""
    found = uniformity_p_value(np.linspace(0, 0.49, 200), 10)
    assert found == pytest.approx(9 * 2.0**-199, rel=1e-6)


def test_lean_has_unit_errors_and_the_right_signs():
    generator = np.random.default_rng(3)
    scores = np.array([lean(generator.random(200)) for _ in range(4000)])
    assert np.abs(scores.mean(0)).max() < 4 / math.sqrt(4000)
    assert np.abs(scores.std(0) - 1).max() < 4 / math.sqrt(8000)
    low_middle = generator.random(1000)
    assert lean(low_middle**2)[0] < -10
    assert lean(0.25 + 0.5 * low_middle)[1] < -10
    assert lean(np.where(low_middle < 0.5, low_middle / 4, 1 - low_middle / 4))[1] > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 10), "num_simulations"), ((10, 1), "num_ranks"), ((10, 10, 1.0), "level must be between 0 and 1")],
)
def test_refuses_what_has_no_band(arguments, message):
    with pytest.raises(ModelError, match=message):
        ecdf_bands(*arguments)
