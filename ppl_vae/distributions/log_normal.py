r"""The log-normal: log x is Gaussian, and the density is one of x itself.

    log p(x) = log N(log x; loc, scale^2) - log x,    x > 0

It is computed in double precision, since a difference of logarithms is divided by a scale of any size.
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class LogNormal(dist.TorchDistribution):
    """The distribution of exp(y) for a Gaussian y.

    Args:
        loc: the mean of log x, [*batch].
        scale: the standard deviation of log x, which broadcasts to it.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  (torch's protocol)
    support = constraints.positive

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, torch.Size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, nats."""
        if self._validate_args:
            self._validate_sample(value)
        y, scale = value.double().log(), self.scale.double()
        u = (y - self.loc.double()) / scale
        density = -0.5 * u.square() - scale.log() - HALF_LOG_2_PI - y
        return density.to(torch.promote_types(self.loc.dtype, value.dtype))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw positive numbers."""
        with torch.no_grad():
            loc = self.loc.expand(self._extended_shape(sample_shape))
            # A draw that rounds to 0 or to infinity, also in single precision, is outside the support.
            limits = torch.finfo(torch.float32)
            return (loc + self.scale * torch.randn_like(loc)).exp().clamp(limits.tiny, limits.max)

    @property
    def mean(self) -> Tensor:
        """The mean exp(loc + scale^2 / 2)."""
        return (self.loc + 0.5 * self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """The variance (exp(scale^2) - 1) mean^2."""
        return self.scale.square().expm1() * self.mean.square()

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> LogNormal:
        """Repeat the distribution over a larger batch."""
        return LogNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self._validate_args)
