r"""Distributions over grey levels: a categorical one, and a logistic one cut into levels.

Grey levels are floats x = k / (levels - 1) in [0, 1], k = 0, ..., levels - 1. Their log probabilities are log
masses (nats), so they sum to one over the levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid


class GreyLevels(constraints.Constraint):
    """The constraint x = k / (levels - 1) for an integer k in [0, levels - 1], to a thousandth of a level.

    Args:
        levels: how many there are.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Mark the values that are levels."""
        k = value * (self.levels - 1)
        return (k >= -1e-3) & (k <= self.levels - 1 + 1e-3) & ((k - k.round()).abs() < 1e-3)


class GreyCategorical(dist.TorchDistribution):
    """The categorical mass p(x = k / (levels - 1)) = softmax(logits)_k.

    Args:
        logits: [*batch, levels], unnormalised log masses.
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 1)}  # noqa: RUF012  (torch's protocol)

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self._index = torch.distributions.Categorical(logits=logits, validate_args=False)
        self.logits, self.levels = self._index.logits, logits.shape[-1]
        super().__init__(logits.shape[:-1], torch.Size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grey levels."""
        return GreyLevels(self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass of grey values, nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self._index.log_prob((value * (self.levels - 1)).round())

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw grey values."""
        return self._index.sample(sample_shape).to(self.logits.dtype) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """The sum over levels of x P(x)."""
        grey = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return self._index.probs @ grey

    @property
    def variance(self) -> Tensor:
        """The sum over levels of (x - mean)^2 P(x)."""
        grey = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return (self._index.probs * (grey - self.mean.unsqueeze(-1)).square()).sum(-1)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> GreyCategorical:
        """Repeat the distribution over a larger batch."""
        return GreyCategorical(self.logits.expand(*batch_shape, self.levels), self._validate_args)


class DiscretisedLogistic(dist.TorchDistribution):
    r"""A logistic variable rounded to the nearest grey level; the edges absorb the tails.

        P(x) = S((x + h - loc) / s) - S((x - h - loc) / s),    h = 1 / (2 (levels - 1)),  S the sigmoid,

    with S(.) = 1 on the right at x = 1 and S(.) = 0 on the left at x = 0. For u > l the log of the difference is
    log S(u) + log S(-l) + log(1 - exp(l - u)), which no tail cancels (Kingma et al. 2016; Salimans et al. 2017).

    Salimans, Karpathy, Chen & Kingma (2017): https://arxiv.org/abs/1701.05517

    Args:
        loc: location in units of x, [*batch].
        log_scale: log s, [*batch].
        levels: how many grey levels.
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}  # noqa: RUF012  (torch's protocol)

    def __init__(
        self, loc: Tensor, log_scale: Tensor, levels: int = 256, validate_args: bool | None = None
    ) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        self.levels, self.half_width = levels, 0.5 / (levels - 1)
        super().__init__(self.loc.shape, torch.Size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grey levels."""
        return GreyLevels(self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass of grey values, nats."""
        if self._validate_args:
            self._validate_sample(value)
        h, per_scale = self.half_width, torch.exp(-self.log_scale)
        # The difference first: where it is small it is exact, while value + h would be rounded.
        offset = value - self.loc
        below, above = logsigmoid((offset + h) * per_scale), logsigmoid((h - offset) * per_scale)
        inside = below + above + self._log_width(per_scale)
        return torch.where(value < h, below, torch.where(value > 1 - h, above, inside))

    def _log_width(self, per_scale: Tensor) -> Tensor:
        """The logarithm log(1 - exp(-w)) of w = 2 h / s, by its series where w is small, as for large s."""
        width = 2 * self.half_width * per_scale
        # Each branch is finite where the other is taken; clamp has no gradient at its limit from torch 2.14 on.
        narrow = width < 0.01
        large, small = torch.where(narrow, 0.01, width), torch.where(narrow, width, 0.0)
        series = math.log(2 * self.half_width) - self.log_scale - 0.5 * small + small.square() / 24
        return torch.where(narrow, series, torch.log(-torch.expm1(-large)))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw grey values."""
        with torch.no_grad():
            loc = self.loc.expand(self._extended_shape(sample_shape))
            value = loc + self.log_scale.exp() * torch.rand_like(loc).logit()
            return (value * (self.levels - 1)).round().clamp(0, self.levels - 1) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """The sum over k >= 1 of P(x >= k / (levels - 1)), over levels - 1."""
        total = sum(self._tails(), start=torch.zeros_like(self.loc, dtype=torch.float64))
        return (total / (self.levels - 1)).to(self.loc.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance; E[k^2] is the sum over k >= 1 of (2k - 1) P(x >= k / (levels - 1))."""
        # Of white pixels both are 1 but for the last digits of single precision.
        first = square = torch.zeros_like(self.loc, dtype=torch.float64)
        for k, tail in enumerate(self._tails(), 1):
            first, square = first + tail, square + (2 * k - 1) * tail
        return ((square - first.square()) / (self.levels - 1) ** 2).clamp(min=0).to(self.loc.dtype)

    def _tails(self) -> Iterator[Tensor]:
        """Yield the tails P(x >= k / (levels - 1)) for k = 1, 2, ..., since all at once would fill the memory."""
        loc, per_scale = self.loc.double(), torch.exp(-self.log_scale.double())
        for k in range(1, self.levels):
            yield torch.sigmoid((loc - (2 * k - 1) * self.half_width) * per_scale)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> DiscretisedLogistic:
        """Repeat the distribution over a larger batch."""
        loc, log_scale = self.loc.expand(batch_shape), self.log_scale.expand(batch_shape)
        return DiscretisedLogistic(loc, log_scale, self.levels, self._validate_args)
