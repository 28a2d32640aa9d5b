"""Distances between sets of draws against closed forms."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from ppl_vae.diagnostics.reference import distances
from ppl_vae.errors import DataError


def normals(n, mean, covariance, seed=0):
    return np.random.default_rng(seed).multivariate_normal(mean, covariance, n)


def test_w2_of_gaussians_that_commute_is_that_of_their_deviations():
    """For diagonal covariances W^2 = |m - n|^2 + sum (s - t)^2."""
    a, b = np.array([0.5, 2.0]), np.array([1.5, 1.0])
    found = distances.gaussian_w2(np.zeros(2), np.diag(a**2), np.array([3.0, 0.0]), np.diag(b**2))
    assert math.isclose(found, math.sqrt(9 + ((a - b) ** 2).sum()), rel_tol=1e-12)


def test_w2_is_unchanged_by_rotations_and_equals_the_optimal_map():
    """With T = V^{-1/2} (V^{1/2} S V^{1/2})^{1/2} V^{-1/2} the cost of moving b by T is tr((I - T) V (I - T))."""
    g = np.random.default_rng(1)
    s, v = (m @ m.T + 0.2 * np.eye(3) for m in g.standard_normal((2, 3, 3)))
    values, vectors = np.linalg.eigh(v)
    root, inverse = ((vectors * values**p) @ vectors.T for p in (0.5, -0.5))
    values, vectors = np.linalg.eigh(root @ s @ root)
    move = np.eye(3) - inverse @ (vectors * np.sqrt(values)) @ vectors.T @ inverse
    zero = np.zeros(3)
    assert math.isclose(distances.gaussian_w2(zero, s, zero, v) ** 2, np.trace(move @ v @ move), rel_tol=1e-10)


def test_moments_of_draws():
    """n = 20,000: a mean is known to 0.007 deviations, a variance to 1 %."""
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    a, b = normals(20000, [0.5, 0], covariance, 1), normals(20000, [0, 0], covariance, 2)
    assert abs(distances.mean_difference(a, b) - 0.5) < 4 * math.sqrt(2 / 20000)
    assert distances.covariance_difference(a, b) < 4 * math.sqrt(2 * 6 / 20000)
    assert abs(distances.wasserstein_of_moments(a, b) - 0.5) < 0.05
    wider = a * math.sqrt(1.5)
    assert abs(distances.covariance_difference(wider, b) - 0.5 * math.sqrt(2)) < 0.06


def test_sliced_wasserstein_of_a_shift_is_the_shift_over_the_root_of_the_dimension():
    """Moved by D each slice moves by u'D; E (u'D)^2 = |D|^2 / 3, with variance |D|^4 (1/5 - 1/9)."""
    a = normals(500, np.zeros(3), np.eye(3))
    found = distances.sliced_wasserstein(a + np.array([2.0, 0, 0]), a, num_projections=400)
    spread = 4 * math.sqrt(1 / 5 - 1 / 9) / math.sqrt(400)
    assert abs(found**2 - 4 / 3) < 4 * spread


def test_sliced_wasserstein_takes_sets_of_two_sizes():
    found = distances.sliced_wasserstein(normals(3000, [0], [[4.0]], 1), normals(1500, [0], [[1.0]], 2))
    assert abs(found - 1.0) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("dims", "shift"), [(1, 1.0), (2, 1.0), (2, 2.0)])
def test_the_classifier_reaches_the_best_accuracy_for_a_shift(dims, shift):
    """Phi(Delta / 2); a trained network may be a few per cent short of it."""
    a = normals(1500, np.eye(1, dims)[0] * shift, np.eye(dims), 1)
    accuracy, error = distances.classifier_accuracy(a, normals(1500, np.zeros(dims), np.eye(dims), 2))
    best = norm.cdf(shift / 2)
    assert math.isclose(error, math.sqrt(accuracy * (1 - accuracy) / 3000), rel_tol=1e-9)
    assert best - 0.02 - 4 * error < accuracy < best + 4 * error


@pytest.mark.slow
def test_the_classifier_cannot_tell_draws_of_one_distribution():
    """Over 5 pairs of sets the mean is 0.5, as far as the spread over the pairs says."""
    found = [
        distances.classifier_accuracy(normals(300, [0, 0], np.eye(2), s), normals(300, [0, 0], np.eye(2), s + 50))[
            0
        ]
        for s in range(5)
    ]
    assert abs(np.mean(found) - 0.5) < 4 * np.std(found, ddof=1) / math.sqrt(5)
    assert np.abs(np.array(found) - 0.5).max() < 0.09


@pytest.mark.slow
def test_the_classifier_sees_two_modes_that_moments_do_not():
    g = np.random.default_rng(0)
    modes = np.sign(g.standard_normal((800, 1))) * math.sqrt(0.96) + 0.2 * g.standard_normal((800, 1))
    normal = g.standard_normal((800, 1))
    assert distances.wasserstein_of_moments(modes, normal) < 0.15
    assert distances.classifier_accuracy(modes, normal)[0] > 0.72


@pytest.mark.slow
def test_mmd_against_its_closed_form():
    """E k over N(a, A) and N(b, B) is (1 + (A + B) / l^2)^(-1/2) exp(-(a - b)^2 / 2 (A + B + l^2))."""
    shift, variance = 1.0, 0.5
    found, error = [], []
    for seed in range(20):
        a = normals(500, [shift], [[variance]], seed)
        value, null = distances.kernel_discrepancy(a, normals(500, [0.0], [[1.0]], seed + 100))
        found.append(value)
        error.append(null)
    # The median of |x - x'| for two standard normals.
    length = math.sqrt(2) * norm.ppf(0.75)

    def kernel(total, distance=0.0):
        return math.exp(-0.5 * distance**2 / (total + length**2)) / math.sqrt(1 + total / length**2)

    exact = kernel(2 * variance) + kernel(2.0) - 2 * kernel(1 + variance, shift)
    assert abs(np.mean(found) - exact) < 4 * np.std(found, ddof=1) / math.sqrt(20) + 0.002
    assert min(found) > 10 * max(error)


def test_mmd_of_one_distribution_stays_within_its_error():
    """Its mean over 20 pairs is 0 within the error that exchanges give, and the spread agrees with that error."""
    found = [
        distances.kernel_discrepancy(normals(200, [0, 0], np.eye(2), s), normals(200, [0, 0], np.eye(2), s + 100))
        for s in range(20)
    ]
    values, errors = np.array(found).T
    assert abs(values.mean()) < 4 * errors.mean() / math.sqrt(20)
    assert 0.6 < values.std(ddof=1) / errors.mean() < 1.6


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (np.zeros((5, 3)), r"found \(5, 3\) and \(5, 2\)"),
        (np.zeros(5), "expected"),
        (np.full((5, 2), np.nan), "finite"),
    ],
)
def test_what_are_no_draws_is_refused(a, message):
    with pytest.raises(DataError, match=message):
        distances.mean_difference(a, np.ones((5, 2)))


def test_too_few_draws_for_a_classifier_are_refused():
    with pytest.raises(DataError, match="at least 10 of each for 5 folds, found 5"):
        distances.classifier_accuracy(np.zeros((5, 2)), np.ones((5, 2)))


@pytest.mark.slow
def test_a_reference_without_a_covariance_of_full_rank():
    """Fewer draws than coordinates, and draws that are all alike: no whitened coordinates, and no failure."""
    generator = np.random.default_rng(0)
    a, few = generator.standard_normal((40, 60)), generator.standard_normal((40, 60))
    still = np.zeros((40, 60))
    for b in (few, still):
        assert np.isnan(distances.covariance_difference(a, b))
        assert 0 <= distances.classifier_accuracy(a, b)[0] <= 1
    assert distances.mean_difference(a, few) < 3
    assert distances.mean_difference(a, still) == np.inf


def test_quantiles_of_sets_of_one_size_are_their_values_in_order():
    """The way around the interpolation gives what the interpolation gives."""
    generator = np.random.default_rng(0)
    values, levels = generator.standard_normal((40, 3)), (np.arange(40) + 0.5) / 40
    expected = np.quantile(values, levels, axis=0, method="hazen")
    assert distances._hazen(values, levels) == pytest.approx(expected, abs=1e-12)


def dirichlets(n, seed):
    drawn = np.random.default_rng(seed).dirichlet([2.0, 3.0, 4.0], n)
    # As single precision leaves them: their sum is 1 but for rounding.
    return drawn.astype(np.float32).astype(np.float64)


def test_points_on_a_simplex_are_compared_where_they_can_move():
    """Two coordinates say all there is: |whitened excess| of a covariance 1.5 times as large is 0.5 sqrt(2)."""
    a, b = dirichlets(20000, 1), dirichlets(20000, 2)
    # The standard error of a covariance of 2 dimensions is sqrt(6 / n), of two sets sqrt(2) times that.
    assert distances.covariance_difference(a, b) < 4 * math.sqrt(2 * 6 / 20000)
    wider = a.mean(0) + math.sqrt(1.5) * (a - a.mean(0))
    assert abs(distances.covariance_difference(wider, b) - 0.5 * math.sqrt(2)) < 0.06


def test_coordinates_that_never_move_are_left_out():
    """A correlation's Cholesky factor: one number r, beside it sqrt(1 - r^2), a 0 and a 1."""

    def factors(n, seed):
        r = 0.5 + 0.1 * np.random.default_rng(seed).standard_normal(n)
        return np.stack([np.ones(n), np.zeros(n), r, np.sqrt(1 - r * r)], -1)

    a, b = factors(4000, 1), factors(4000, 2)
    shifted = a.copy()
    shifted[:, 2] += 0.05
    assert abs(distances.mean_difference(shifted, b) - 0.5) < 4 * math.sqrt(2 / 4000)
    assert distances.covariance_difference(a, b) < 0.3
    moving = a.copy()
    moving[:, 1] = a[:, 2]
    assert math.isinf(distances.mean_difference(moving, b))
    assert math.isnan(distances.covariance_difference(moving, b))


def test_draws_that_stand_chain_by_chain_are_taken_from_all_of_them():
    """Four chains, two in each of two modes, and a guide that has both: the first two alone are all beside it."""
    rng = np.random.default_rng(0)
    chains = np.repeat([-4.0, 4.0], 1000)[:, None] + rng.normal(size=(2000, 1))
    guide = rng.choice([-4.0, 4.0], (2000, 1)) + rng.normal(size=(2000, 1))
    value, error = distances.kernel_discrepancy(guide, chains)
    assert abs(value) < 4 * error
    accuracy, error = distances.classifier_accuracy(guide[:200], chains)
    assert abs(accuracy - 0.5) < 4 * error
