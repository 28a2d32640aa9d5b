r"""Pareto-smoothed importance sampling of many data at once (Vehtari, Simpson, Gelman, Yao & Gabry 2024).

The largest M = ceil(min(S / 5, 3 sqrt(S / r))) of a datum's S weights are taken for draws from a generalised Pareto
distribution above the next largest; its shape k says how heavy the tail is, and the quantiles of the fit take
the place of the largest weights. The fit is that of Zhang & Stephens (2009), a posterior mean over a grid, and
its k is drawn towards 1/2 by a prior worth ten draws:

    k <- (M k + 5) / (M + 10)

The numbers equal those of ``psislw`` of ArviZ 0.23, datum by datum. ArviZ 1.x rounds M down, so that its k-hat of
1000 draws is that of a tail of 94 and not of 95; where the rule gives a whole number, both agree.

Vehtari, Simpson, Gelman, Yao & Gabry (2024): https://arxiv.org/abs/1507.02646
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.errors import DataError

PRIOR_DRAWS, PRIOR_K = 10, 0.5
# Fewer tail draws than this make no fit.
LEAST_TAIL = 5
# How many factors are multiplied before a logarithm is taken; a power of two.
FACTORS = 8
DRAWS_AT_ONCE = 64


@dataclass(frozen=True)
class Smoothed:
    """Smoothed weights and their tail index, in float64.

    Attributes:
        log_weight: smoothed and normalised log weights [S, N]: their exponentials add up to 1 over S.
        khat: the shape k [N]; +inf where fewer than five weights stand above the tail's threshold.
    """

    log_weight: Tensor
    khat: Tensor


def tail_length(num_samples: int, relative_efficiency: float = 1.0) -> int:
    """The number M of the S weights that make the tail.

    >>> tail_length(1000)
    95
    """
    return math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples / relative_efficiency)))


def threshold(num_samples: int) -> float:
    """The largest k with which S draws can be trusted, min(1 - 1 / log10 S, 0.7) (Vehtari et al. 2024).

    >>> round(threshold(1000), 4), threshold(10**6)
    (0.6667, 0.7)
    """
    return min(1 - 1 / math.log10(num_samples), 0.7)


def smooth(log_weight: Tensor, relative_efficiency: float = 1.0) -> Smoothed:
    """Smooth the weights of every datum.

    Args:
        log_weight: log w [S, N], in any scale; S of at least 21.
        relative_efficiency: r, of draws that depend on each other.

    Raises:
        DataError: another shape, too few draws, or a weight that is NaN or +inf, or none above zero.
    """
    weights = log_weight.double() - _largest(log_weight).double()
    khats = torch.full_like(weights[0], torch.inf)
    for columns, where, tail, cutoff in _tails(log_weight, relative_efficiency):
        base = cutoff.exp()
        shape, scale = generalised_pareto(tail.exp() - base)
        khats[columns] = shape
        weights[where, columns] = _quantiles(tail, base, shape, scale)
    # None is above 0 and one is near it: nothing overflows. A few draws at a time, since memory that is touched for
    # the first time costs more than the exponentials.
    total = torch.zeros_like(khats)
    for some in weights.split(DRAWS_AT_ONCE):
        total += some.exp().sum(0)
    return Smoothed(weights.sub_(total.log_()), khats)


def khat(log_weight: Tensor, relative_efficiency: float = 1.0) -> Tensor:
    """The shape k of every datum alone [N]: what ``smooth`` finds, without the smoothing."""
    _largest(log_weight)
    khats = torch.full_like(log_weight[0], torch.inf, dtype=torch.float64)
    for columns, _, tail, cutoff in _tails(log_weight, relative_efficiency):
        khats[columns], _ = generalised_pareto(tail.exp() - cutoff.exp())
    return khats


def _tails(log_weight: Tensor, relative_efficiency: float) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Data whose tails are equally long, together; their log weights less the largest of a datum.

    Yields:
        Which data they are [n], where their tails stand among the draws [M, n], the tails in increasing order
        [M, n], and the log weight that they stand above [n].
    """
    length = tail_length(len(log_weight), relative_efficiency)
    top, index = log_weight.topk(length + 1, dim=0)
    top = top.double() - top[0].double()
    cutoff = top[-1].clamp_min(math.log(torch.finfo(torch.float64).tiny))
    sizes = (top[:-1] > cutoff).sum(0)
    for size in sizes.unique().tolist():
        if size >= LEAST_TAIL:
            columns = (sizes == size).nonzero().squeeze(1)
            yield columns, index[:size, columns].flip(0), top[:size, columns].flip(0), cutoff[columns]


def _largest(log_weight: Tensor) -> Tensor:
    """The largest log weight of every datum [N], once it is known that there is one."""
    if log_weight.dim() != 2 or len(log_weight) < 21 or not log_weight.shape[1]:
        raise DataError(f"log weights: expected [S, N] with S of at least 21, found {list(log_weight.shape)}")
    largest = log_weight.amax(0)
    if not largest.isfinite().all():
        datum = int((~largest.isfinite()).nonzero()[0])
        raise DataError(f"log weights of datum {datum}: expected finite numbers or -inf, not all of them -inf")
    return largest


def _quantiles(tail: Tensor, base: Tensor, khat: Tensor, sigma: Tensor) -> Tensor:
    """The log weights [M, n], in increasing order, that a fit puts in the place of ``tail``."""
    probability = (torch.arange(len(tail), dtype=tail.dtype, device=tail.device) + 0.5) / len(tail)
    exponent = -torch.log1p(-probability).unsqueeze(1)
    flat = khat.abs() < torch.finfo(tail.dtype).eps
    shape = torch.where(flat, 1.0, khat)
    quantile = sigma * torch.where(flat, exponent, torch.expm1(shape * exponent) / shape)
    # Where the fit failed the weights stay as they were.
    return torch.where(khat.isfinite(), (quantile + base).log().clamp_max(0.0), tail)


def _mean_log(b: Tensor, excess: Tensor) -> Tensor:
    """The mean of log(1 - b x) over exceedances x [M, n], for b [n]: [n].

    The logarithm of the product of a few factors costs one logarithm; where a product leaves the numbers' range
    every factor has its own.
    """
    # Exceedances of 0 make up a whole number of groups: their factors are 1.
    padded = torch.nn.functional.pad(excess, (0, 0, 0, -len(excess) % FACTORS))
    factors = torch.addcmul(excess.new_ones(()), padded, -b)
    for _ in range(FACTORS.bit_length() - 1):
        half = len(factors) // 2
        factors = factors[:half] * factors[half:]
    mean_log = factors.log_().sum(0).div_(len(excess))
    return mean_log if mean_log.isfinite().all() else torch.log1p(-b * excess).mean(0)


def generalised_pareto(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale of exceedances by Zhang & Stephens (2009), with the prior on the shape.

    Zhang & Stephens (2009): https://doi.org/10.1198/tech.2009.08017

    Args:
        excess: positive and in increasing order along the first dimension [M, n].

    Returns:
        k [n] and sigma [n]; NaN where the exceedances do not allow a fit.
    """
    count = len(excess)
    grid = 30 + int(math.sqrt(count))
    step = torch.arange(1, grid + 1, dtype=excess.dtype, device=excess.device) - 0.5
    quartile = excess[int(count / 4 + 0.5) - 1]
    b = (1 - torch.sqrt(grid / step)).unsqueeze(1) / (3 * quartile) + 1 / excess[-1]
    k = torch.stack([_mean_log(row, excess) for row in b])
    profile = count * (torch.log(-(b / k)) - k - 1)
    weight = profile.softmax(0)
    weight = torch.where(weight >= 10 * torch.finfo(excess.dtype).eps, weight, 0.0)
    b = (b * weight / weight.sum(0)).sum(0)
    k = torch.log1p(-b * excess).mean(0)
    return (count * k + PRIOR_DRAWS * PRIOR_K) / (count + PRIOR_DRAWS), -k / b
