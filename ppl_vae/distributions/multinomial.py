r"""The multinomial distribution of counts whose totals are given and differ from datum to datum.

    log p(x | n, rho) = log n! - sum_v log x_v! + sum_v x_v log rho_v,    sum_v x_v = n

torch's and Pyro's have one total for all data, or no draws where there are several.
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints


class MultinomialCounts(dist.TorchDistribution):
    """Counts that sum to a total, of categories that have any event shape.

    Args:
        total: n, whole numbers, broadcast to [*batch].
        logits: log rho up to a constant, [*batch, *event_shape].
        event_dim: the number of dimensions of the event.
    """

    arg_constraints = {"total": constraints.nonnegative_integer}  # noqa: RUF012  (torch's protocol)

    def __init__(
        self, total: Tensor, logits: Tensor, event_dim: int = 1, validate_args: bool | None = None
    ) -> None:
        batch, event = logits.shape[:-event_dim], logits.shape[logits.dim() - event_dim :]
        batch = torch.broadcast_shapes(batch, total.shape)
        self.total = total.expand(batch)
        self.logits = logits.expand(*batch, *event)
        super().__init__(batch, event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """Whole numbers from 0 on; what does not sum to the total has no mass."""
        return constraints.independent(constraints.nonnegative_integer, len(self.event_shape))

    @property
    def log_shares(self) -> Tensor:
        """The log of rho, laid out in a row: [*batch, V]."""
        return self.logits.flatten(-len(self.event_shape)).log_softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass, nats; minus infinity of counts with another total."""
        if self._validate_args:
            self._validate_sample(value)
        # In double precision, as all counts of this package: log n! of a long text has no digits left in single.
        x, total = value.flatten(-len(self.event_shape)).double(), self.total.double()
        log_shares = self.logits.double().flatten(-len(self.event_shape)).log_softmax(-1)
        mass = torch.lgamma(total + 1) - torch.lgamma(x + 1).sum(-1) + (x * log_shares).sum(-1)
        mass = torch.where(x.sum(-1) == total, mass, -math.inf)
        return mass.to(torch.promote_types(self.logits.dtype, value.dtype))

    @torch.no_grad()
    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw counts, one category after another of the longest total."""
        shape = self._extended_shape(sample_shape)
        batch = shape[: len(shape) - len(self.event_shape)]
        shares = self.log_shares.exp().expand(*batch, -1).flatten(0, -2) if batch else self.log_shares.exp()[None]
        total = self.total.expand(batch).reshape(-1, 1)
        longest = int(total.max()) if total.numel() else 0
        counts = torch.zeros_like(shares)
        if longest:
            which = torch.multinomial(shares, longest, replacement=True)
            counted = (torch.arange(longest, device=total.device) < total).to(counts)
            counts.scatter_add_(-1, which, counted)
        return counts.reshape(shape)

    @property
    def mean(self) -> Tensor:
        """The mean n rho."""
        shares = self.log_shares.exp() * self.total.unsqueeze(-1)
        return shares.reshape(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """The variance n rho (1 - rho) of every count."""
        shares = self.log_shares.exp()
        return (self.total.unsqueeze(-1) * shares * (1 - shares)).reshape(self.batch_shape + self.event_shape)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> MultinomialCounts:
        """Repeat the distribution over a larger batch."""
        logits = self.logits.expand(*batch_shape, *self.event_shape)
        dims = len(self.event_shape)
        return MultinomialCounts(self.total.expand(batch_shape), logits, dims, self._validate_args)
