r"""The continuous Bernoulli from its logit (Loaiza-Ganem & Cunningham 2019, https://arxiv.org/abs/1907.06845).

    p(x) = exp(l x - A(l)),  0 <= x <= 1,        A(l) = log int_0^1 exp(l x) dx = log((exp l - 1) / l)

Everything here is a function of the logit l. From a probability, as in torch, nothing can be told of logits beyond
16 in single precision: 1 - p is rounded away, the density no longer integrates to one, and its gradient is 0. With
a = |l| and the even part of A,

    A(l) = max(l, 0) + log((1 - exp(-a)) / a),    A(l) = l / 2 + log(sinh(a / 2) / (a / 2)),

the first where a is not small, the second with its series around 0, where the first is 0 / 0.
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints, register_kl

# Below it the series are exact to rounding in double precision, above it the formulas lose few places to it.
SERIES_BELOW = 0.25
# Of log(sinh(a / 2) / (a / 2)), of 1/2 minus the mean at -a, and of the variance: coefficients of powers of a^2.
LOG_SINH = (1 / 24, -1 / 2880, 1 / 181440, -1 / 9676800, 1 / 479001600)
MEAN = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)
VARIANCE = (1 / 12, -1 / 240, 1 / 6048, -1 / 172800, 1 / 5322240)


class ContinuousBernoulli(dist.TorchDistribution):
    """The density p(x) proportional to exp(logits x) on [0, 1].

    Args:
        logits: [*batch], any real numbers.
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012  (torch's protocol)
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, torch.Size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * value - log_normaliser(self.logits)

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw by the inverse of the distribution function, taken from the end where the density is largest."""
        with torch.no_grad():
            logits = self.logits.expand(self._extended_shape(sample_shape))
            rate = logits.abs().clamp(min=torch.finfo(logits.dtype).tiny)
            depth = (-(torch.rand_like(logits) * torch.expm1(-rate)).log1p() / rate).clamp(0, 1)
            # log1p(u expm1(-a)) / -a: an exponential variable of rate a, given that it is below 1.
            return torch.where(logits > 0, 1 - depth, depth)

    @property
    def mean(self) -> Tensor:
        """The mean A'(logits)."""
        a = self.logits.abs()
        large = torch.where(a < SERIES_BELOW, SERIES_BELOW, a)
        least = torch.where(a < SERIES_BELOW, 0.5 - a * _series(MEAN, a), large.reciprocal() - _odds(large))
        return torch.where(self.logits > 0, 1 - least, least)

    @property
    def variance(self) -> Tensor:
        """The variance A''(logits)."""
        a = self.logits.abs()
        large = torch.where(a < SERIES_BELOW, SERIES_BELOW, a)
        odds = _odds(large)
        direct = large.reciprocal().square() - odds * (1 + odds)
        return torch.where(a < SERIES_BELOW, _series(VARIANCE, a), direct)

    def entropy(self) -> Tensor:
        """The entropy A(l) - l A'(l), the same for l and -l: [*batch], nats."""
        a = -self.logits.abs()
        return log_normaliser(a) - a * ContinuousBernoulli(a, validate_args=False).mean

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> ContinuousBernoulli:
        """Repeat the distribution over a larger batch."""
        return ContinuousBernoulli(self.logits.expand(batch_shape), self._validate_args)


def log_normaliser(logits: Tensor) -> Tensor:
    """The log normaliser A(logits) = log integral of exp(logits x) over [0, 1], to rounding for any logits."""
    a = logits.abs()
    # Both branches are finite everywhere, so that the one not taken leaves no NaN in a gradient. Not by clamp: its
    # gradient at its limit is 0 from torch 2.14 on.
    large, small = torch.where(a < SERIES_BELOW, SERIES_BELOW, a), torch.where(a < SERIES_BELOW, a, 0.0)
    direct = logits.clamp(min=0) + (-torch.expm1(-large)).log() - large.log()
    series = 0.5 * logits + small.square() * _series(LOG_SINH, small)
    return torch.where(a < SERIES_BELOW, series, direct)


def _odds(a: Tensor) -> Tensor:
    """The odds 1 / (exp(a) - 1), computed without overflow."""
    return torch.exp(-a) / -torch.expm1(-a)


def _series(coefficients: tuple[float, ...], a: Tensor) -> Tensor:
    square = a.square()
    total = torch.full_like(a, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return total


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _kl(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    return log_normaliser(q.logits) - log_normaliser(p.logits) - (q.logits - p.logits) * p.mean
