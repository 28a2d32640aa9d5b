r"""Counts with more zeros than their law has: with probability s(g), the sigmoid of a logit g, a count is 0.

    P(0) = s(g) + s(-g) P_base(0),    P(x) = s(-g) P_base(x) for x > 0

Lambert (1992), "Zero-inflated Poisson regression": https://doi.org/10.2307/1269547
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus

from ppl_vae.distributions.counts import NegativeBinomialCounts, PoissonCounts

# Its exponential, and so the log mass of 0, is a number of double precision.
MOST_LOG_RATE = 700.0


class ZeroInflatedCounts(dist.TorchDistribution):
    """A law of counts beside a mass at 0.

    Args:
        base: the law of counts, [*batch].
        gate_logits: g, the log odds of an additional 0, which broadcasts to it.
    """

    arg_constraints = {"gate_logits": constraints.real}  # noqa: RUF012  (torch's protocol)
    support = constraints.nonnegative_integer

    def __init__(
        self,
        base: PoissonCounts | NegativeBinomialCounts,
        gate_logits: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        shape = torch.broadcast_shapes(base.batch_shape, gate_logits.shape)
        self.base, self.gate_logits = base.expand(shape), gate_logits.expand(shape)
        super().__init__(shape, torch.Size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass, nats."""
        if self._validate_args:
            self._validate_sample(value)
        gate, x = self.gate_logits.double(), value.double()
        inflated, is_counted = logsigmoid(gate), logsigmoid(-gate)
        counted = is_counted + self.base.log_prob(x)
        empty = is_counted + self._finite_base().log_prob(torch.zeros_like(x))
        # log(exp a + exp b), whose second derivative is a number too where the two are far apart.
        zero = inflated + softplus(empty - inflated, threshold=40.0)
        mass = torch.where(x == 0, zero, counted)
        return mass.to(torch.promote_types(self.gate_logits.dtype, value.dtype))

    def _finite_base(self) -> PoissonCounts | NegativeBinomialCounts:
        """The law with a rate of which the exponential is a number: 0 times its infinity would be none."""
        base = self.base
        return PoissonCounts(base.log_rate.clamp(max=MOST_LOG_RATE)) if isinstance(base, PoissonCounts) else base

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw counts."""
        with torch.no_grad():
            counts = self.base.sample(sample_shape)
            counted = torch.rand_like(counts) < torch.sigmoid(-self.gate_logits)
            return counts * counted

    @property
    def mean(self) -> Tensor:
        """The mean s(-g) m."""
        return torch.sigmoid(-self.gate_logits) * self.base.mean

    @property
    def variance(self) -> Tensor:
        """The variance s(-g) (v + s(g) m^2)."""
        square = torch.sigmoid(self.gate_logits) * self.base.mean.square()
        return torch.sigmoid(-self.gate_logits) * (self.base.variance + square)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> ZeroInflatedCounts:
        """Repeat the distribution over a larger batch."""
        gate = self.gate_logits.expand(batch_shape)
        return ZeroInflatedCounts(self.base.expand(batch_shape), gate, self._validate_args)
