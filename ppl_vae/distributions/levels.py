r"""Distributions over codes 0, 1, ..., K - 1: the levels of an ordered scale, or of a name.

The cumulative logit (McCullagh 1980) cuts a logistic variable at cutpoints c_1 < ... < c_{K-1}:

    P(x <= k) = s(c_{k+1} - eta),    P(x = k) = s(u) - s(l),    u = c_{k+1} - eta,  l = c_k - eta,

s the sigmoid. The log of the difference is log s(u) + log s(-l) + log(1 - exp(l - u)), which no tail cancels.

McCullagh (1980), "Regression models for ordinal data": https://doi.org/10.1111/j.2517-6161.1980.tb01109.x
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, pad


class Levels(dist.TorchDistribution):
    """A distribution over codes from their log masses.

    Args:
        log_masses: [*batch, K], of which the exponentials sum to one.
    """

    arg_constraints = {"log_masses": constraints.independent(constraints.real, 1)}  # noqa: RUF012

    def __init__(self, log_masses: Tensor, validate_args: bool | None = None) -> None:
        self.log_masses = log_masses
        super().__init__(log_masses.shape[:-1], torch.Size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The codes."""
        return constraints.integer_interval(0, self.log_masses.shape[-1] - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass of codes, nats."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        index = value.expand(shape).long().unsqueeze(-1)
        return self.log_masses.expand(*shape, -1).gather(-1, index).squeeze(-1)

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw codes, as floats."""
        with torch.no_grad():
            drawn = dist.Categorical(logits=self.log_masses, validate_args=False).sample(torch.Size(sample_shape))
            return drawn.to(self.log_masses.dtype)

    @property
    def mean(self) -> Tensor:
        """The mean code: the sum over k of k P(k)."""
        return self.log_masses.exp() @ self._codes()

    @property
    def variance(self) -> Tensor:
        """The variance of the code."""
        # Around the mean, so that nothing cancels where it is far from 0.
        return (self.log_masses.exp() * (self._codes() - self.mean.unsqueeze(-1)).square()).sum(-1)

    def _codes(self) -> Tensor:
        return torch.arange(self.log_masses.shape[-1], dtype=self.log_masses.dtype, device=self.log_masses.device)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> Levels:
        """Repeat the distribution over a larger batch."""
        return Levels(self.log_masses.expand(*batch_shape, -1), self._validate_args)


def cumulative_logit(eta: Tensor, first: Tensor, log_gaps: Tensor) -> Levels:
    """The levels of a logistic variable that is cut.

    Args:
        eta: the location [*batch].
        first: the first cutpoint, which broadcasts to it.
        log_gaps: the logarithms of the distances of one cutpoint to the next [*, K - 2].
    """
    gaps = log_gaps.double().exp()
    cuts = first.double().unsqueeze(-1) + pad(gaps.cumsum(-1), (1, 0))
    u = cuts - eta.double().unsqueeze(-1)
    # Below the first cutpoint nothing is lost, above the last nothing either.
    below, above = pad(logsigmoid(u), (0, 1)), pad(logsigmoid(-u), (1, 0))
    between = pad((-torch.expm1(-gaps)).log(), (1, 1))
    return Levels((below + above + between).to(torch.promote_types(eta.dtype, first.dtype)))
