r"""Distributions of counts from the log of their mean: the Poisson and the negative binomial.

Their log masses are small differences of large numbers. At a count of a million log x! is 1.3e7, of which single
precision keeps 1 nat, and torch's negative binomial takes the difference of log Gamma(x + r) and log Gamma(r), of
which it loses .08 nats a count at r = 1e5 and 41 at 1e8. So the masses are computed in double precision, where data
and parameters of single precision are exact, and rounded at the end.

For the negative binomial with mean m and dispersion r,

    log NB(x) = x log m - log x! - (r + x) log(1 + m / r) + D,    D = log Gamma(r + x) - log Gamma(r) - x log r,

and with R = r + 6, S(n) what Stirling's formula leaves of log Gamma(n), and P(n) = n (n + 1) ... (n + 5),

    D = x log(1 + 6 / r) + (R + x - 1/2) log(1 + x / R) - x + S(R + x) - S(R) - log(P(r + x) / P(r))

in which nothing large is left to cancel, nor in its gradient: as r grows the mass turns into the Poisson's.
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

# From the shift on, these terms of S have twelve digits.
SHIFT = 6.0
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


class PoissonCounts(dist.TorchDistribution):
    """The Poisson mass p(x) = exp(-rate) rate^x / x!.

    Args:
        log_rate: [*batch], the log of the mean.
    """

    arg_constraints = {"log_rate": constraints.real}  # noqa: RUF012  (torch's protocol)
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.shape, torch.Size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass, nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_rate, x = self.log_rate.double(), value.double()
        mass = x * log_rate - log_rate.exp() - torch.lgamma(x + 1)
        return mass.to(torch.promote_types(self.log_rate.dtype, value.dtype))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw counts."""
        with torch.no_grad():
            return torch.poisson(self.mean.expand(self._extended_shape(sample_shape)))

    @property
    def mean(self) -> Tensor:
        """The mean, which is the rate."""
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        """The variance, which is the rate."""
        return self.mean

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> PoissonCounts:
        """Repeat the distribution over a larger batch."""
        return PoissonCounts(self.log_rate.expand(batch_shape), self._validate_args)


class NegativeBinomialCounts(dist.TorchDistribution):
    """Counts with mean m and variance m + m^2 / r: a Poisson whose rate is Gamma-distributed.

    Args:
        log_mean: log m, [*batch].
        log_dispersion: log r, which broadcasts to it.
    """

    arg_constraints = {  # noqa: RUF012  (torch's protocol)
        "log_mean": constraints.real,
        "log_dispersion": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, log_dispersion: Tensor, validate_args: bool | None = None) -> None:
        self.log_mean, self.log_dispersion = log_mean, log_dispersion
        shape = torch.broadcast_shapes(log_mean.shape, log_dispersion.shape)
        super().__init__(shape, torch.Size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass, nats."""
        if self._validate_args:
            self._validate_sample(value)
        # log r keeps its shape: what depends on it alone is computed once, not for every datum.
        log_mean, log_r, x = self.log_mean.double(), self.log_dispersion.double(), value.double()
        spread = (log_r.exp() + x) * softplus(log_mean - log_r, threshold=40.0)
        mass = x * log_mean - spread + rising_factorial(log_r, x) - torch.lgamma(x + 1)
        return mass.to(torch.promote_types(self.log_mean.dtype, value.dtype))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw counts."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            r = self.log_dispersion.exp().expand(shape)
            rate = torch._standard_gamma(r) * (self.log_mean - self.log_dispersion).exp()
            return torch.poisson(rate)

    @property
    def mean(self) -> Tensor:
        """The mean m."""
        return self.log_mean.exp().expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        """The variance m + m^2 / r."""
        return self.mean + (2 * self.log_mean - self.log_dispersion).exp()

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> NegativeBinomialCounts:
        """Repeat the distribution over a larger batch."""
        return NegativeBinomialCounts(self.log_mean.expand(batch_shape), self.log_dispersion, self._validate_args)


def rising_factorial(log_r: Tensor, x: Tensor) -> Tensor:
    """The function D = log Gamma(r + x) - log Gamma(r) - x log r for x >= 0, in double precision."""
    r = log_r.exp()
    shifted = r + SHIFT
    first = x * torch.log1p(SHIFT / r) - (_product(r + x) / _product(r)).log()
    rest = stirling_rest(shifted + x) - stirling_rest(shifted)
    return first + (shifted + x - 0.5) * torch.log1p(x / shifted) - x + rest


def _product(n: Tensor) -> Tensor:
    """The product P(n), in pairs: n (n + 5), (n + 1)(n + 4) and (n + 2)(n + 3)."""
    pair = n * (n + 5)
    return pair * (pair + 4) * (pair + 6)


def stirling_rest(n: Tensor) -> Tensor:
    """The rest S(n) = log Gamma(n) - (n - 1/2) log n + n - 1/2 log 2 pi for n from 6 on."""
    inverse = n.reciprocal()
    square, series = inverse.square(), torch.full_like(n, STIRLING[-1])
    for coefficient in STIRLING[-2::-1]:
        series = series * square + coefficient
    return series * inverse
