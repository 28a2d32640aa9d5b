"""Distributions of a part of the coordinates of a datum: those that are observed, or those that are completed."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints


class CompletedCoordinates(dist.TorchDistribution):
    r"""Independent coordinates, some of which are given and keep their values; only the others have a density.

        log p(x_hidden | x_given) = sum over hidden coordinates d of log p_d(x_d)

    A coordinate that is NaN in x is missing and integrated out.

    Args:
        full: an Independent whose base distribution has one coordinate an event.
        given: data [*batch, *event], of which the coordinates that are not hidden are read.
        hidden: which coordinates are not given [*event].
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)

    def __init__(self, full: dist.Independent, given: Tensor, hidden: Tensor) -> None:
        self.full = full
        self.given = given
        self.hidden = hidden
        super().__init__(full.batch_shape, full.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """The support of the full datum."""
        return self.full.support

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of the hidden coordinates, nats."""
        scored = self.hidden & ~value.isnan()
        each = self.full.base_dist.log_prob(torch.where(scored, value, 0.0))
        return torch.where(scored, each, 0.0).sum(dim=tuple(range(-len(self.event_shape), 0)))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw full data; given coordinates keep their values."""
        return torch.where(self.hidden, self.full.sample(sample_shape), self.given)

    @property
    def mean(self) -> Tensor:
        """The mean of the full datum: given coordinates keep their values."""
        return torch.where(self.hidden, self.full.mean, self.given)

    @property
    def variance(self) -> Tensor:
        """The variance of the full datum: 0 at given coordinates."""
        return torch.where(self.hidden, self.full.variance, 0.0)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> CompletedCoordinates:
        """Repeat the distribution over a larger batch."""
        return CompletedCoordinates(self.full.expand(batch_shape), self.given, self.hidden)


class ObservedCoordinates(dist.TorchDistribution):
    r"""Independent coordinates, of which those that are NaN in x are missing and integrated out.

        log p(x_observed) = sum over observed coordinates d of log p_d(x_d)

    Args:
        full: an Independent whose base distribution has one coordinate an event.
        inside: a value of its support, which stands in for a missing one.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)

    def __init__(self, full: dist.Independent, inside: float = 0.0) -> None:
        self.full, self.inside = full, inside
        super().__init__(full.batch_shape, full.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """The support of the full datum."""
        return self.full.support

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of the observed coordinates, nats; 0 where all are missing."""
        missing = value.isnan()
        # The value stands in on both sides of the density, so that no NaN reaches a gradient.
        each = self.full.base_dist.log_prob(torch.where(missing, self.inside, value))
        return torch.where(missing, 0.0, each).sum(dim=tuple(range(-len(self.event_shape), 0)))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw full data."""
        return self.full.sample(sample_shape)

    @property
    def mean(self) -> Tensor:
        """The mean of the full datum."""
        return self.full.mean

    @property
    def variance(self) -> Tensor:
        """The variance of the full datum."""
        return self.full.variance

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> ObservedCoordinates:
        """Repeat the distribution over a larger batch."""
        return ObservedCoordinates(self.full.expand(batch_shape), self.inside)
