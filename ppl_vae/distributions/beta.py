r"""The beta distribution from the logit of its mean m and the log of its concentration c = a + b.

With a = c m, b = c (1 - m) and S(n) what Stirling's formula leaves of log Gamma(n),

    log p(x) = -c KL - log x - log(1 - x) + 1/2 log(a b / (2 pi c)) + S(c) - S(a) - S(b),
    -KL = m log(x / m) + (1 - m) log((1 - x) / (1 - m)) = m d - log(1 + m (exp(d) - 1)),  d = logit x - logit m,

in which nothing large is left to cancel: log Gamma(c) - log Gamma(a) - log Gamma(b) loses as many digits as c has.

Ferrari & Cribari-Neto (2004), "Beta regression": https://doi.org/10.1080/0266476042000214501
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus

from ppl_vae.distributions.counts import SHIFT, stirling_rest
from ppl_vae.distributions.log_normal import HALF_LOG_2_PI


class Beta(dist.TorchDistribution):
    """The density on (0, 1) with mean sigmoid(logits) and variance m (1 - m) / (1 + c).

    Args:
        logits: of the mean, [*batch].
        log_concentration: log c, which broadcasts to it.
    """

    arg_constraints = {  # noqa: RUF012  (torch's protocol)
        "logits": constraints.real,
        "log_concentration": constraints.real,
    }
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, log_concentration: Tensor, validate_args: bool | None = None) -> None:
        self.logits, self.log_concentration = torch.broadcast_tensors(logits, log_concentration)
        super().__init__(self.logits.shape, torch.Size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, nats; the value is inside of (0, 1)."""
        if self._validate_args:
            self._validate_sample(value)
        logits, log_c, x = self.logits.double(), self.log_concentration.double(), value.double()
        log_m, log_n, log_x, log_y = logsigmoid(logits), logsigmoid(-logits), x.log(), torch.log1p(-x)
        a, b = (log_c + log_m).exp(), (log_c + log_n).exp()
        density = -log_c.exp() * _divergence(logits, log_x - log_y) - log_x - log_y
        density = density + 0.5 * (log_c + log_m + log_n) - HALF_LOG_2_PI
        density = density + _rest(log_c.exp(), log_c) - _rest(a, log_c + log_m) - _rest(b, log_c + log_n)
        return density.to(torch.promote_types(self.logits.dtype, value.dtype))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw numbers inside of (0, 1)."""
        with torch.no_grad():
            logits, log_c = self.logits.double(), self.log_concentration.double()
            log_c, logits = (each.expand(self._extended_shape(sample_shape)) for each in (log_c, logits))
            log_a, log_b = log_c + logsigmoid(logits), log_c + logsigmoid(-logits)
            drawn = (_log_gamma_draw(log_a) - _log_gamma_draw(log_b)).sigmoid().to(self.logits.dtype)
            # One that rounds to 0 or to 1, also in single precision, is outside the support.
            limits = torch.finfo(torch.float32)
            return drawn.clamp(limits.tiny, 1 - limits.eps)

    @property
    def mean(self) -> Tensor:
        """The mean m."""
        return self.logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        """The variance m (1 - m) / (1 + c)."""
        return self.mean * (-self.logits).sigmoid() / (1 + self.log_concentration.exp())

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> Beta:
        """Repeat the distribution over a larger batch."""
        logits, log_c = self.logits.expand(batch_shape), self.log_concentration.expand(batch_shape)
        return Beta(logits, log_c, self._validate_args)


def _log_gamma_draw(log_shape: Tensor) -> Tensor:
    """Draw the logarithm of a Gamma variable, which below a shape of 0.01 would often be 0 to rounding.

    It is G u^(1 / shape) with u uniform and G of a shape that is 1 larger (Marsaglia & Tsang 2000, section 6).
    """
    # Never the logarithm of 0: rand is below 1.
    log_u = torch.log1p(-torch.rand_like(log_shape))
    return torch._standard_gamma(log_shape.exp() + 1).log() + log_u * (-log_shape).clamp(max=600.0).exp()


def _divergence(logits: Tensor, logits_x: Tensor) -> Tensor:
    """The KL of a coin with these logits from one with those of x."""
    # The same with both sides of the coin exchanged, so that m is at most 1/2.
    size = torch.where(logits > 0, logits, -logits)
    log_m, log_n = logsigmoid(-size), logsigmoid(size)
    d = torch.where(logits > 0, logits - logits_x, logits_x - logits)
    near = torch.log1p(log_m.exp() * torch.expm1(torch.where(d.abs() < 1, d, 0.0)))
    far = log_n + softplus(d - size, threshold=40.0)
    return torch.where(d.abs() < 1, near, far) - log_m.exp() * d


def _rest(n: Tensor, log_n: Tensor) -> Tensor:
    """The rest S(n) = log Gamma(n) - (n - 1/2) log n + n - 1/2 log 2 pi for any n > 0."""
    # Both branches are finite everywhere, so that the one not taken leaves no NaN in a gradient.
    # Not by clamp, whose gradient at its limit is 0 from torch 2.14 on.
    far = n > SHIFT
    small, log_small = torch.where(far, SHIFT, n), torch.where(far, math.log(SHIFT), log_n)
    # Of log Gamma(n + 1) - log n nothing overflows where n is 0 to rounding.
    direct = torch.lgamma(small + 1) - (small + 0.5) * log_small + small - HALF_LOG_2_PI
    return torch.where(far, stirling_rest(torch.where(far, n, SHIFT)), direct)
