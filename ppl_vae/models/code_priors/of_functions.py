"""A distribution over codes that a prior states by two functions: its log density, and its draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pyro import distributions as dist
from torch import Tensor


class OfFunctions(dist.TorchDistribution):
    """A distribution on R^L whose density is known at every point and whose draws have no derivative.

    Args:
        log_density: of points z [*batch, L]: [*batch], nats.
        draw: from a shape [*batch] to draws [*batch, L].
        latent_dim: L.
        batch_shape: of the distribution.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)
    support = torch.distributions.constraints.real_vector

    def __init__(
        self,
        log_density: Callable[[Tensor], Tensor],
        draw: Callable[[torch.Size], Tensor],
        latent_dim: int,
        batch_shape: torch.Size | tuple[int, ...] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.log_density, self.draw = log_density, draw
        super().__init__(torch.Size(batch_shape), torch.Size((latent_dim,)), validate_args=validate_args)

    @torch.no_grad()
    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw: [*sample, *batch, L]."""
        return self.draw(torch.Size(sample_shape) + self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at z [*batch, L]: [*batch], nats."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return self.log_density(value).expand(shape)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> OfFunctions:
        """Repeat the distribution over a larger batch."""
        return OfFunctions(
            self.log_density, self.draw, self.event_shape[0], torch.Size(batch_shape), self._validate_args
        )
