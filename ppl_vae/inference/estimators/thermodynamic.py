r"""The thermodynamic variational objective (Masrani, Le & Wood 2019).

    log p(x) = int_0^1 E_{pi_b} [log w] db,        pi_b(z) proportional to q(z|x)^(1-b) p(x, z)^b

The integrand rises with b from the ELBO to an upper bound, so a left Riemann sum is a lower bound. The
expectations are self-normalised importance sums over the same S draws, with weights softmax_k(b log w_k).

Masrani, Le & Wood (2019): https://arxiv.org/abs/1907.00031
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.score_function import score_surrogate
from ppl_vae.inference.pair.terms import Gradient, Terms


class Thermodynamic(Estimator):
    """The left Riemann sum over ``num_partitions`` intervals; its gradient is a covariance, no reparameterisation.

    d/d lambda E_{pi_b} log w = E_{pi_b} [d log w] + Cov_{pi_b} (d log pi~_b, log w)  (ibid. eq. 11), with bias
    O(1/S) from the self-normalisation. One interval is the ELBO.

    Args:
        num_particles: S, at least 2.
        num_partitions: intervals; the inner points are log-uniform from ``first_point`` to 1.
        first_point: the smallest inner point.
    """

    target = "evidence"
    side = "lower"

    gradient: Gradient = "score"
    points: Tensor

    def __init__(self, num_particles: int = 10, num_partitions: int = 2, first_point: float = 10**-1.09) -> None:
        super().__init__(num_particles)
        if num_particles < 2 or num_partitions < 1 or not 0 < first_point < 1:
            raise ModelError("tvo needs num_particles >= 2, num_partitions >= 1 and 0 < first_point < 1")
        inner = torch.logspace(math.log10(first_point), 0, num_partitions, dtype=torch.float64)
        inner = inner if num_partitions > 1 else torch.ones(1, dtype=torch.float64)
        self.register_buffer("points", torch.cat([torch.zeros(1, dtype=torch.float64), inner]))

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        weight = self._weights(terms.log_weight)
        return (self._widths(weight) * (weight * terms.log_weight).sum(1)).sum(0)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate of every datum: [N]."""
        log_weight = terms.log_weight.detach()
        weight, width = self._weights(log_weight), self.points.diff().to(log_weight.dtype).view(-1, 1, 1)
        b = self.points[:-1].to(log_weight.dtype).view(-1, 1, 1)
        centred = weight * (log_weight - (weight * log_weight).sum(1, keepdim=True))
        centred = centred * len(log_weight) / (len(log_weight) - 1)
        model_weight = (width * (weight + b * centred)).sum(0)
        # pi~_b = q w^b, and a KL weight c leaves log q - b c log q of the guide's density in it.
        signal = (width * ((1 - b * terms.kl_weight) * centred - terms.kl_weight * weight)).sum(0)
        return score_surrogate(terms, model_weight, signal)

    def _weights(self, log_weight: Tensor) -> Tensor:
        """Self-normalised weights at the left end of every interval: [T, S, N]."""
        left = self.points[:-1].to(log_weight.dtype).view(-1, 1, 1)
        return (left * log_weight.detach()).softmax(1)

    def _widths(self, weight: Tensor) -> Tensor:
        return self.points.diff().to(weight.dtype).view(-1, 1)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, points={[round(p, 6) for p in self.points.tolist()]}"
