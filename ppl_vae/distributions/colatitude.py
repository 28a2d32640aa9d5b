r"""Draws on a sphere whose gradient is exact: the angle from the mean direction, differentiated implicitly.

A law on S^(D-1) that depends on x through the angle t = arccos(mu'x) alone has there the density

    p(t) ~ exp(-k d(t)) sin(t)^(D-2),     0 < t < pi

with d growing from d(0) = 0: d = 1 - cos t for von Mises-Fisher, d = -2 log cos(t/2) for power spherical. Where F
is its distribution function, a draw moves with k by (Figurnov, Mohamed & Mnih 2018, eq. 6)

    dt/dk = -(dF/dk) / p(t),     dF/dk = int_0^t (m - d) p = int_t^pi (d - m) p,     m = E[d]

Of the two integrals the one whose integrand keeps its sign is taken, relative to p(t), by tanh-sinh quadrature, so
that nothing cancels and no normaliser is needed. The direction around mu is a Gaussian draw projected and
normalised, smooth in mu, so that x has a gradient in mu as well.

Figurnov, Mohamed & Mnih (2018): https://arxiv.org/abs/1805.08498
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

NUM_NODES, FARTHEST_NODE = 64, 3.4
SMALLEST_ANGLE = 1e-100


@dataclass(frozen=True)
class Family:
    """One law of the angle.

    Attributes:
        deviance: d(t).
        farther: the angle at which d is larger than at t by a given amount; pi where none is.
    """

    deviance: Callable[[Tensor], Tensor]
    farther: Callable[[Tensor, Tensor], Tensor]


COSINE = Family(
    lambda t: 2 * (t / 2).sin().square(),
    lambda t, more: 2 * ((t / 2).sin().square() + more / 2).clamp(max=1).sqrt().asin(),
)
LOG_COSINE = Family(
    lambda t: -2 * (t / 2).cos().log(),
    lambda t, more: 2 * ((t / 2).cos() * (-more / 2).exp()).acos(),
)


def with_gradient(angle: Tensor, concentration: Tensor, mean: Tensor, dim: int, family: Family) -> Tensor:
    """The same angles, whose derivative by the concentration is that of the draw.

    Args:
        angle: draws t, [*sample, *batch], of double precision and without a history.
        concentration: k, [*batch], of double precision.
        mean: m = E[d], [*batch], a constant.
        dim: D.
        family: of the law.
    """
    k, m = (number.expand(angle.shape) for number in (concentration, mean.detach()))
    moved: Tensor = _Implicit.apply(angle, k, m, dim, family)
    return moved


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angle: Tensor, k: Tensor, mean: Tensor, dim: int, family: Family) -> Tensor:
        ctx.save_for_backward(angle, k, mean)
        ctx.law = dim, family
        return angle.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        return None, slopes[0] * angle_slope(*ctx.saved_tensors, *ctx.law), None, None, None


def angle_slope(angle: Tensor, k: Tensor, mean: Tensor, dim: int, family: Family) -> Tensor:
    """The derivative dt/dk of draws t, all [*batch] of double precision; it is at most 0."""
    t = angle.clamp(SMALLEST_ANGLE, math.pi * (1 - 1e-15))
    here = family.deviance(t)
    inner = here < mean
    # Beyond, the integrand is less than exp(-30) of its largest value.
    end = family.farther(t, (30 + 2 * (dim - 2)) / k)
    low, high = torch.where(inner, 0.0, t), torch.where(inner, t, end)
    nodes, weights = (torch.as_tensor(numbers, dtype=t.dtype, device=t.device) for numbers in _tanh_sinh())
    points = low.unsqueeze(-1) + (high - low).unsqueeze(-1) * nodes
    d = family.deviance(points)
    log_ratio = k.unsqueeze(-1) * (here.unsqueeze(-1) - d)
    if dim > 2:
        log_ratio = log_ratio + (dim - 2) * (points.sin().log() - t.sin().log().unsqueeze(-1))
    total = ((d - mean.unsqueeze(-1)).abs() * log_ratio.exp() * weights).sum(-1)
    return -(high - low) * total


def placed(angle: Tensor, loc: Tensor) -> Tensor:
    """The point of the sphere at an angle from the mean direction, in a direction around it that is drawn.

    Args:
        angle: t, [*sample, *batch], of double precision.
        loc: mu, [*batch, D], of length one.

    Returns:
        x [*sample, *batch, D], in the precision of mu.
    """
    noise = torch.randn(*angle.shape, loc.shape[-1], dtype=loc.dtype, device=loc.device).double()
    mu = loc.double()
    mu = mu / mu.norm(dim=-1, keepdim=True)
    across = noise - (noise * mu).sum(-1, keepdim=True) * mu
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    t = angle.unsqueeze(-1)
    return (t.cos() * mu + t.sin() * across).to(loc.dtype)


@functools.cache
def _tanh_sinh() -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) and their weights, crowded towards both ends."""
    t = np.linspace(-FARTHEST_NODE, FARTHEST_NODE, NUM_NODES)
    bent = 0.5 * math.pi * np.sinh(t)
    nodes = 1 / (1 + np.exp(-2 * bent))
    weights = (t[1] - t[0]) * 0.25 * math.pi * np.cosh(t) / np.cosh(bent) ** 2
    return nodes, weights
