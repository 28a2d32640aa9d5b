r"""The spaces that codes live in: what a decoder reads of a point, and the shortest way between two.

A prior and a posterior name the space of their draws; Euclidean where they say nothing.

    EUCLIDEAN      R^L                                    straight lines
    SPHERE         |z| = 1 in R^L                         great circles
    TORUS          L angles in [-pi, pi)                  the shorter way around; the decoder reads cos z and sin z
    POINCARE_BALL  |z| < 1 in R^L, of curvature -1        circles that meet the boundary at right angles; it
                                                          reads the tangent vector at the origin
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.distributions.von_mises import wrapped
from ppl_vae.distributions.wrapped_normal import from_tangent, mobius_sum, to_tangent


def _itself(z: Tensor) -> Tensor:
    return z


@dataclass(frozen=True)
class Space:
    """A space of codes [*batch, L].

    Attributes:
        name: in messages and files.
        geodesic: the point (start, end, weight) that divides the shortest way by the weight in [0, 1], [*batch, L].
        read: what a decoder reads of a point, [*batch, inputs L].
        inputs: the number of its inputs for every coordinate.
        least_dim: the smallest L.
        flat: whether codes may be moved by vectors.
    """

    name: str
    geodesic: Callable[[Tensor, Tensor, Tensor], Tensor]
    read: Callable[[Tensor], Tensor] = _itself
    inputs: int = 1
    least_dim: int = 1
    flat: bool = False


def _great_circle(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """The spherical interpolation; of two opposite points, along the direction that rounding chooses."""
    # Half the chord's angle, which unlike the cosine keeps its digits for near and for opposite points.
    chord, across = (start - end).norm(dim=-1, keepdim=True), (start + end).norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(chord, across)
    small = angle < 1e-3
    sine = torch.where(small, 1.0, angle.sin())
    one, other = (torch.where(small, w, (w * angle).sin() / sine) for w in (1 - weight, weight))
    point = one * start + other * end
    return point / point.norm(dim=-1, keepdim=True)


def _around(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    return wrapped(start + weight * wrapped(end - start))


def _hyperbolic(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    one, other = start.double(), end.double()
    step = to_tangent(mobius_sum(-one, other))
    return mobius_sum(one, from_tangent(weight * step)).to(start.dtype)


EUCLIDEAN = Space("Euclidean space", torch.lerp, flat=True)
SPHERE = Space("sphere", _great_circle, least_dim=2)
TORUS = Space("torus", _around, lambda z: torch.cat([z.cos(), z.sin()], -1), inputs=2)
POINCARE_BALL = Space("Poincare ball", _hyperbolic, to_tangent)
