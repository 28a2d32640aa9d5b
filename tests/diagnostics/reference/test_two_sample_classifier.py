"""Classifiers for many pairs of sets at once against the best accuracy that there is."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ppl_vae.diagnostics.reference.two_sample_classifier import classifier_accuracies


def pairs(change, num_sets=12, size=300, dim=2):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(num_sets, size, dim, generator=generator) for _ in range(2))
    return change(a), b


def correlated(z):
    return torch.stack([z[..., 0], 0.9 * z[..., 0] + math.sqrt(1 - 0.81) * z[..., 1]], -1)


def shifted(z):
    return z + torch.tensor([1.0, 0.0])


def best_accuracy(covariance, mean=(0.0, 0.0)):
    """1/2 + TV / 2 between N(mean, covariance) and N(0, I), by quadrature on a grid."""
    grid = np.stack(np.meshgrid(*[np.linspace(-8, 8, 801)] * 2), -1)
    densities = [stats.multivariate_normal(m, c).pdf(grid) for m, c in ((mean, covariance), ((0, 0), np.eye(2)))]
    return 0.5 + 0.25 * np.abs(densities[0] - densities[1]).sum() * 0.02**2


CORRELATED = best_accuracy([[1, 0.9], [0.9, 1]])
NARROW = best_accuracy(np.eye(2) / 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "best"),
    [(lambda z: z, 0.5), (shifted, stats.norm.cdf(0.5)), (lambda z: 0.5 * z, NARROW), (correlated, CORRELATED)],
)
def test_the_accuracy_is_near_the_best_and_not_above(change, best):
    a, b = pairs(change)
    accuracy, error = classifier_accuracies(a, b, torch.full((12,), 300))
    of_mean = error.mean().item() / math.sqrt(12)
    assert best - 0.035 < accuracy.mean().item() < best + 4 * of_mean


def test_draws_beyond_the_size_are_not_looked_at():
    a, b = pairs(lambda z: z, num_sets=3, size=80)
    sizes = torch.tensor([40, 60, 80])
    told = classifier_accuracies(a, b, sizes)
    a[0, 40:], b[1, 60:] = 1e3, -1e3
    again = classifier_accuracies(a, b, sizes)
    torch.testing.assert_close(again[0], told[0])
    assert told[1][0] > told[1][2]


@pytest.mark.slow
def test_two_modes_against_one():
    def two(z):
        return torch.where(
            torch.rand(z.shape[:2], generator=torch.Generator().manual_seed(1))[..., None] < 0.5, z + 8, z
        )

    a, b = pairs(two, num_sets=6)
    accuracy, _ = classifier_accuracies(b, a, torch.full((6,), 300))
    assert accuracy.mean().item() == pytest.approx(0.75, abs=0.03)
