r"""The wrapped normal on the Poincare ball (Nagano et al. 2019; Mathieu et al. 2019, section 3.2).

In the ball |z| < 1 of curvature -1, with the metric lambda_z^2 dz^2, lambda_z = 2 / (1 - |z|^2):

    v ~ N(0, diag s^2),   z = loc + exp map of v carried from the origin to loc = loc (+) tanh(|v| / 2) v / |v|
    log p(z) = log N(v; 0, s^2) + (L - 1) log (r / sinh r) + L log lambda_z,     r = |v| the distance from loc to z

with respect to Lebesgue's measure of the ball; (+) is Mobius addition. A ball of curvature -c is this one with
scales multiplied by the root of c. In single precision z knows its distance r from the origin to 3e-8 exp(r).

Nagano, Yamaguchi, Fujita & Koyama (2019): https://arxiv.org/abs/1902.02992
Mathieu, Le Lan, Maddison, Tomioka & Teh (2019): https://arxiv.org/abs/1901.06033
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to, transforms

from ppl_vae.distributions.log_normal import HALF_LOG_2_PI

# The largest norm of a draw: beyond, points of the precision are no longer told from the boundary.
MOST_NORM = {torch.float64: 1 - 1e-13}
MOST_NORM_IN_SINGLE = 1 - 1e-6
TINY = 1e-30


class _OpenBall(constraints.Constraint):
    """The points of R^L of norm less than one."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return value.square().sum(-1) < 1


open_ball = _OpenBall()


class TangentToBall(transforms.Transform):
    """The map from R^L to the ball that keeps directions and takes lengths as distances from the centre."""

    domain = constraints.real_vector
    codomain = open_ball
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return from_tangent(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return to_tangent(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The log volume [*batch]: sinh(r)^(L-1) / r^(L-1) less L log lambda."""
        r = (x.square().sum(-1) + torch.finfo(x.dtype).tiny).sqrt()
        # log (1 - |y|^2) / 2 = - log 2 cosh(r/2)^2
        size = x.shape[-1]
        return -(size - 1) * _log_r_over_sinh(r) - size * 2 * (r / 2 + (-r).exp().log1p()) + size * math.log(2)


@biject_to.register(open_ball)
@transform_to.register(open_ball)
def _to_ball(constraint: constraints.Constraint) -> TangentToBall:
    return TangentToBall()


class WrappedNormal(dist.TorchDistribution):
    """Points of the Poincare ball around a point.

    ``mean`` is that point, not the expectation in R^L.

    Args:
        loc: the point, [*batch, L] of norm less than one.
        scale: the standard deviations in its tangent space, in units of distance, [*batch, L].
    """

    arg_constraints: ClassVar = {"loc": open_ball, "scale": constraints.independent(constraints.positive, 1)}
    support = open_ball
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The point around which draws are [*batch, L]."""
        return self.loc

    def rsample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw points [*sample, *batch, L]."""
        noise = torch.randn(
            self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device
        )
        point = mobius_sum(self.loc.double(), from_tangent((noise * self.scale).double()))
        most = MOST_NORM.get(self.loc.dtype, MOST_NORM_IN_SINGLE)
        norm = point.norm(dim=-1, keepdim=True)
        return (point * (most / norm.clamp_min(most))).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density with respect to Lebesgue's measure of the ball: [*batch], nats."""
        if self._validate_args:
            self._validate_sample(value)
        z, scale = value.double(), self.scale.double()
        v, r = _tangent_and_distance(self.loc.double(), z)
        gaussian = (-0.5 * (v / scale).square() - scale.log() - HALF_LOG_2_PI).sum(-1)
        size = z.shape[-1]
        log_lambda = size * (2 / (1 - z.square().sum(-1))).log()
        log_p = gaussian + (size - 1) * _log_r_over_sinh(r) + log_lambda
        return log_p.to(torch.promote_types(self.loc.dtype, value.dtype))

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> WrappedNormal:
        """Repeat the distribution over a larger batch."""
        shape = (*batch_shape, self.event_shape[0])
        return WrappedNormal(self.loc.expand(shape), self.scale.expand(shape), self._validate_args)


def mobius_sum(x: Tensor, y: Tensor) -> Tensor:
    """The Mobius sum of points of the ball [*batch, L]: the translation of y that takes the origin to x."""
    inner = (x * y).sum(-1, keepdim=True)
    xx, yy = x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    return ((1 + 2 * inner + yy) * x + (1 - xx) * y) / (1 + 2 * inner + xx * yy)


def from_tangent(v: Tensor) -> Tensor:
    """The point of the ball at distance |v| from the origin, in the direction of v [*batch, L]."""
    r = (v.square().sum(-1, keepdim=True) + TINY).sqrt()
    return (0.5 * r).tanh() * v / r


def to_tangent(z: Tensor) -> Tensor:
    """The direction of a point of the ball from the origin, as long as its distance."""
    norm = (z.square().sum(-1, keepdim=True) + TINY).sqrt()
    return 2 * norm.atanh() * z / norm


def _tangent_and_distance(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The vector v [*batch, L] that leads from x to z, carried to the origin, and its length [*batch]."""
    step, xx, zz = z - x, x.square().sum(-1), z.square().sum(-1)
    apart = step.square().sum(-1)
    r = 2 * ((apart + TINY) / ((1 - xx) * (1 - zz))).sqrt().asinh()
    towards = (1 - xx).unsqueeze(-1) * step - apart.unsqueeze(-1) * x
    length = (towards.square().sum(-1) + TINY).sqrt()
    return (r / length).unsqueeze(-1) * towards, r


def _log_r_over_sinh(r: Tensor) -> Tensor:
    """The logarithm of r / sinh r, also next to r = 0."""
    small = r < 1e-3
    safe = torch.where(small, 1.0, r)
    return torch.where(small, -r.square() / 6, (2 * safe).log() - safe - (-(-2 * safe).exp()).log1p())
