r"""The Student-t with fixed degrees of freedom, over the whole range that data and scales take.

    log p(x) = c(df) - log s - (df + 1) / 2 log(1 + y^2 / df),     y = (x - loc) / s

torch computes c(df), a difference of two log Gamma functions, in the data's precision, of which single precision
loses 2 nats at df = 1e6, and squares y, which overflows where the logarithm does not.
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor

MOST_FREEDOM = 1e8
# u^2 of larger ones is taken as a logarithm, in which 1 is lost to rounding.
LARGE = 1e9


class StudentT(dist.StudentT):
    """The Student-t distribution with ``df`` degrees of freedom, location and scale.

    Args:
        df: degrees of freedom, a number of at most MOST_FREEDOM.
        loc: location, [*batch].
        scale: which broadcasts to it.
    """

    def __init__(self, df: float, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.freedom = float(df)
        super().__init__(loc.new_full((), self.freedom), loc, scale, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, nats."""
        if self._validate_args:
            self._validate_sample(value)
        df = self.freedom
        u = (value - self.loc) / self.scale / math.sqrt(df)
        large = u.detach().abs() > LARGE
        near = torch.where(large, 0.0, u).square().log1p()
        far = 2 * torch.where(large, u, LARGE).abs().log()
        return log_normaliser(df) - self.scale.log() - 0.5 * (df + 1) * torch.where(large, far, near)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> StudentT:
        """Repeat the distribution over a larger batch."""
        return StudentT(
            self.freedom, self.loc.expand(batch_shape), self.scale.expand(batch_shape), self._validate_args
        )


def log_normaliser(df: float) -> float:
    """The log normaliser c(df) = log Gamma((df + 1) / 2) - log Gamma(df / 2) - 1/2 log(pi df)."""
    a = 0.5 * df
    if a < 50:
        return math.lgamma(a + 0.5) - math.lgamma(a) - 0.5 * math.log(math.pi * df)
    # Where two large numbers would be subtracted: their difference is 1/2 log a and a series in 1 / a.
    return -0.5 * math.log(2 * math.pi) - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)
