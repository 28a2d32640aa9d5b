"""The uniform law on the sphere S^(D-1) in R^D, with respect to its area."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from torch import Tensor


def log_area(dim: int) -> float:
    """The log area of the sphere of radius one in R^D: log [ 2 pi^(D/2) / Gamma(D/2) ]."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(dim / 2)


class SphericalUniform(dist.TorchDistribution):
    """Directions of which none is preferred.

    Args:
        like: a tensor [D] that gives D, the precision and the device of draws.
        batch_shape: of the distribution.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)
    support = constraints.sphere
    has_rsample = True

    def __init__(self, like: Tensor, batch_shape: Sequence[int] = (), validate_args: bool | None = None) -> None:
        self.like = like
        super().__init__(torch.Size(batch_shape), like.shape[-1:], validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, the same everywhere: [*batch], nats."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return value.new_full(shape, -log_area(self.event_shape[0]))

    def rsample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw directions [*sample, *batch, D]."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.like.dtype, device=self.like.device)
        return noise / noise.norm(dim=-1, keepdim=True)

    def entropy(self) -> Tensor:
        """The log area [*batch], nats."""
        return self.like.new_full(self.batch_shape, log_area(self.event_shape[0]))

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> SphericalUniform:
        """Repeat the distribution over a larger batch."""
        return SphericalUniform(self.like, torch.Size(batch_shape), self._validate_args)
