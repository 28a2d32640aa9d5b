r"""The distance between two sets of draws: by moments, Wasserstein, a classifier, a kernel.

All take draws a [n, d] (of a guide) and b [m, d] (of a reference), independent within each set.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from ppl_vae.errors import DataError
from ppl_vae.inference.objectives.aggregate_posterior import mmd_of_kernels

Draws = NDArray[np.float64]
# The kernel's matrix is n times m times d numbers, so it is taken from at most so many draws.
MMD_DRAWS = 500
# The variance of what stands still but for rounding, in squares of its size: (10 eps)^2 of single precision.
STILL = (10 * 2.0**-23) ** 2


def mean_difference(a: Draws, b: Draws) -> float:
    """The largest |E a - E b| over coordinates, in standard deviations of b.

    What is the same number in all draws of both, as the zeros of a triangular matrix are, is left out. Inf where b
    alone stands still, NaN where nothing moves.
    """
    _check(a, b)
    moves = moving(np.concatenate([a, b]))
    if not moves.any():
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((np.abs(a.mean(0) - b.mean(0)) / b.std(0, ddof=1))[moves].max())


def covariance_difference(a: Draws, b: Draws) -> float:
    """The Frobenius norm of Cov a - Cov b, both in the coordinates in which Cov b is the identity.

    0 where the covariances agree; an excess of b's variance by half in one direction is 0.5. Directions in which
    neither set moves, as the sum of a point on a simplex, are left out. NaN where b has too few draws for a
    covariance of full rank, or alone stands still.
    """
    _check(a, b)
    moves = moving(np.concatenate([a, b]))
    a, b = a[:, moves], b[:, moves]
    scale = b.std(0, ddof=1)
    if len(b) <= b.shape[1] or not moves.any() or not (scale > 0).all():
        return math.nan
    values, vectors = np.linalg.eigh(_covariance(b / scale))
    # Draws are known to a part in 10^7, whose square is what single precision leaves of a variance of 0.
    known = np.abs(np.concatenate([a, b])).max(0) / scale
    still = values <= STILL * ((vectors.T * known) ** 2).sum(1)
    across = (a / scale) @ vectors[:, still]
    if still.all() or (across.var(0) > STILL * ((vectors.T[still] * known) ** 2).sum(1)).any():
        return math.nan
    whitened = (a / scale) @ vectors[:, ~still] / np.sqrt(values[~still])
    return float(np.linalg.norm(_covariance(whitened) - np.eye(int((~still).sum()))))


def moving(draws: Draws) -> NDArray[np.bool_]:
    """Mark the coordinates [..., d] of draws [..., n, d] that are not the same number in all of them."""
    return np.asarray((draws != draws[..., :1, :]).any(-2))


def gaussian_w2(mean_a: Draws, cov_a: Draws, mean_b: Draws, cov_b: Draws) -> float:
    r"""The 2-Wasserstein distance between two Gaussians (Dowson & Landau 1982), in units of z.

    W^2 = |m - n|^2 + tr( S + V - 2 (V^{1/2} S V^{1/2})^{1/2} )
    """
    root_b = _root(cov_b)
    cross = np.trace(_root(root_b @ cov_a @ root_b))
    squared = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return math.sqrt(max(0.0, float(squared)))


def wasserstein_of_moments(a: Draws, b: Draws) -> float:
    """Compute ``gaussian_w2`` between the Gaussians that have the draws' means and covariances."""
    _check(a, b)
    return gaussian_w2(a.mean(0), _covariance(a), b.mean(0), _covariance(b))


def sliced_wasserstein(a: Draws, b: Draws, num_projections: int = 100, seed: int = 0) -> float:
    r"""The sliced 2-Wasserstein distance, in units of z.

    Bonneel, Rabin, Peyré & Pfister 2015, https://doi.org/10.1007/s10851-014-0506-3.

    ( E_u W_2(u'a, u'b)^2 )^{1/2} over directions u on the unit sphere; on a line W_2 compares quantiles.
    """
    _check(a, b)
    directions = np.random.default_rng(seed).standard_normal((a.shape[1], num_projections))
    directions /= np.linalg.norm(directions, axis=0)
    levels = (np.arange(max(len(a), len(b))) + 0.5) / max(len(a), len(b))
    quantiles = [_hazen(draws @ directions, levels) for draws in (a, b)]
    return float(np.sqrt(np.mean((quantiles[0] - quantiles[1]) ** 2)))


def classifier_accuracy(a: Draws, b: Draws, folds: int = 5, seed: int = 0) -> tuple[float, float]:
    """The classifier two-sample test (C2ST): how often a classifier tells the sets apart, and its standard error.

    The accuracy is 0.5 where the sets are of one distribution (Lopez-Paz & Oquab 2017,
    https://arxiv.org/abs/1610.06545), and Phi(Delta / 2) at best for two Gaussians of one covariance whose
    means are Delta standard deviations apart. The classifier is a small network on coordinates in units of b's
    standard deviation, cross-validated; the larger set is cut to the size of the smaller. It can miss a
    difference, so that the figure is a lower bound on the best accuracy.
    """
    _check(a, b)
    size = min(len(a), len(b))
    if size < 2 * folds:
        raise DataError(f"draws: expected at least {2 * folds} of each for {folds} folds, found {size}")
    features = np.concatenate([_spread_out(a, size), _spread_out(b, size)])
    scale = b.std(0, ddof=1)
    features = (features - b.mean(0)) / np.where(scale > 0, scale, 1.0)
    labels = np.repeat([0, 1], size)
    width = max(20, 5 * a.shape[1])
    network = MLPClassifier(
        (width, width), early_stopping=True, n_iter_no_change=8, max_iter=100, random_state=seed,
        batch_size=min(100, size),
        learning_rate_init=3e-3,
    )  # fmt: skip
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        told = cross_val_predict(network, features, labels, cv=split)
    accuracy = float((told == labels).mean())
    return accuracy, math.sqrt(max(accuracy * (1 - accuracy), 0.25 / len(labels)) / len(labels))


def kernel_discrepancy(a: Draws, b: Draws) -> tuple[float, float]:
    """The U-statistic of MMD^2 with a Gaussian kernel (Gretton et al. 2012), and its standard error under a = b.

    The kernel's length is the median distance between draws of b. The statistic is unbiased, so it may be negative.
    At most 500 draws of each are used. The error is the spread over random exchanges of the two sets.
    """
    _check(a, b)
    size = min(len(a), len(b), MMD_DRAWS)
    both = torch.as_tensor(np.concatenate([_spread_out(a, size), _spread_out(b, size)]))
    # Distances of points that nearly coincide would be lost in a product of matrices.
    apart = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = torch.ones(size, size, dtype=torch.bool).triu(1)
    length = apart[size:, size:][pairs].median().item()
    gram = (-0.5 * apart.square() / length**2).exp()
    found = mmd_of_kernels(gram[:size, :size], gram[size:, size:], gram[:size, size:])
    return found.item(), _exchange_error(gram)


def _spread_out(draws: Draws, size: int) -> Draws:
    """So many of the draws, from all over them: the first are those of the first chains, and of their modes."""
    return draws[np.linspace(0, len(draws) - 1, size).round().astype(int)]


def _exchange_error(gram: Tensor, exchanges: int = 50) -> float:
    """The root mean square of the U-statistic when all draws are dealt to two halves at random."""
    size = len(gram) // 2
    order = np.random.default_rng(0).permuted(np.tile(np.arange(2 * size), (exchanges, 1)), axis=1)
    signs = torch.as_tensor(np.where(order < size, 1.0, -1.0))
    total, difference = gram.sum(), ((signs @ gram) * signs).sum(1)
    within, across = (total + difference) / 2 - 2 * size, (total - difference) / 2
    return (within / (size * (size - 1)) - across / size**2).square().mean().sqrt().item()


def _hazen(values: Draws, levels: Draws) -> Draws:
    """Hazen's quantiles at (i + 1/2) / n of columns; of n values they are the values in order."""
    if len(values) == len(levels):
        return np.sort(values, axis=0)
    quantiles: Draws = np.quantile(values, levels, axis=0, method="hazen")
    return quantiles


def _covariance(draws: Draws) -> Draws:
    return np.atleast_2d(np.cov(draws, rowvar=False))


def _root(matrix: Draws) -> Draws:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def _check(a: Draws, b: Draws) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise DataError(f"draws: expected [n, d] and [m, d] with n, m of at least 2, found {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError("draws: expected finite numbers")
