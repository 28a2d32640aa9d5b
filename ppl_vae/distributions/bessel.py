r"""The modified Bessel function I_v, as densities on spheres need it: without its scale, in double precision.

With v = D/2 - 1 and U the uniform law on the sphere S^(D-1),

    f(k) = log E_U[exp(k mu'x)] = log [ Gamma(v + 1) (2/k)^v I_v(k) ],    f(0) = 0
    A(k) = f'(k) = I_{v+1}(k) / I_v(k),                                    A' = 1 - A^2 - (D - 1) A / k

f is taken at an order V = v + m of 24 or more by the uniform expansion in 1/V (DLMF 10.41.3, whose polynomials U_j
follow 10.41.9), and brought down to v by I_n = I_{n+2} + 2 (n+1) / k I_{n+1} (DLMF 10.29.1), all of whose terms are
positive, so that neither small nor large k cancels. A' is brought down with it; its closed form above loses all
digits where k is large.

NIST Digital Library of Mathematical Functions, 10.41: https://dlmf.nist.gov/10.41
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

LEAST_ORDER, NUM_TERMS = 24, 5


def moments(concentration: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The functions f(k) and A(k) of the sphere in R^D: [*batch] each, in double precision, differentiable once.

    Args:
        concentration: k >= 0, [*batch].
        dim: D, at least 2.
    """
    f, mean = _Moments.apply(concentration.double(), dim)
    return f, mean


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        f, ratio, slope = _brought_down(k, dim)
        mean = k * ratio
        ctx.save_for_backward(mean, slope)
        return f, mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        mean, slope = ctx.saved_tensors
        of_f, of_mean = slopes
        return of_f * mean + of_mean * slope, None


def _brought_down(k: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The functions f(k), A(k) / k and A'(k)."""
    order = dim / 2 - 1
    steps = max(0, math.ceil(LEAST_ORDER - order))
    f, ratio = _uniform_expansion(k, order + steps)
    _, above = _uniform_expansion(k, order + steps + 1)
    square = k.square()
    slope = ratio * (1 + square * (above - ratio))
    for step in reversed(range(steps)):
        upper = order + step + 1
        grown = square * ratio / (2 * upper)
        f, ratio = f + grown.log1p(), 1 / (2 * upper * (1 + grown))
        slope = ratio.square() * (2 * upper - square * slope)
    return f, ratio, slope


def _uniform_expansion(k: Tensor, order: float) -> tuple[Tensor, Tensor]:
    """The functions f(k), with a constant such that f(0) = 0, and f'(k) / k, of a large order."""
    z = k / order
    s = (1 + z.square()).sqrt()
    above = z.square() / (1 + s)
    # U_j(p) / V^j = y^j W_j(p^2) with y = p / V; its derivative is by log p.
    p2, y = 1 / s.square(), 1 / (s * order)
    total, steepness, at_zero, power = torch.ones_like(k), torch.zeros_like(k), 1.0, torch.ones_like(k)
    for j, polynomial in enumerate(_polynomials(), start=1):
        value, slope = torch.zeros_like(k), torch.zeros_like(k)
        for coefficient in reversed(polynomial):
            value, slope = value * p2 + coefficient, slope * p2 + value
        power = power * y
        total = total + power * value
        steepness = steepness + power * (j * value + 2 * p2 * slope)
        at_zero += sum(polynomial) / order**j
    f = order * (above - (above / 2).log1p()) - 0.5 * s.log() + total.log() - math.log(at_zero)
    ratio = 1 / (order * (1 + s)) - p2 * (0.5 + steepness / total) / order**2
    return f, ratio


@functools.cache
def _polynomials() -> tuple[tuple[float, ...], ...]:
    """The coefficients of W_1, W_2, ... in rising powers of p^2, where U_j(p) = p^j W_j(p^2).

    U_{j+1}(p) = p^2 (1 - p^2) U_j'(p) / 2 + (1/8) int_0^p (1 - 5 t^2) U_j(t) dt, U_0 = 1.
    """
    found, last = [], {0: Fraction(1)}
    for _ in range(NUM_TERMS):
        following: dict[int, Fraction] = {}
        for power, c in last.items():
            for to, part in (
                (power + 1, c * power / 2 + c / (8 * (power + 1))),
                (power + 3, -c * power / 2 - 5 * c / (8 * (power + 3))),
            ):
                following[to] = following.get(to, Fraction(0)) + part
        last = following
        found.append(tuple(float(last.get(power, 0)) for power in range(min(last), max(last) + 1, 2)))
    return tuple(found)
