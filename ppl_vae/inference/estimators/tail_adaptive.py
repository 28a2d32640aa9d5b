"""Tail-adaptive f-divergence (Wang, Liu & Liu 2018): weights by rank, which no heavy tail can take over.

    F(t) = share of the w_j that are at least t,    v_k = F(w_k)^b / sum_j F(w_j)^b,    b = -1

phi follows sum_k v_k (d log w_k / d z_k)(d z_k / d phi). Some convex f has these weights, so that it is the descent
of a divergence KL_f(p || q) which covers mass like alpha divergences do, with weights whose moments always exist.

Wang, Liu & Liu (2018), algorithm 1: https://arxiv.org/abs/1810.11943
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.checks import real
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.pair.gradients import scale_at_draws
from ppl_vae.inference.pair.terms import Gradient, Terms


class TailAdaptive(Estimator):
    """The guide descends a tail-adaptive f-divergence, the model climbs L_K on the same draws; the value is L_K.

    Args:
        num_particles: K, at least 2.
        power: b, at most 0; at 0 all weights are alike and phi's gradient is sticking-the-landing's.
    """

    target = "evidence"
    side = "lower"

    gradient: Gradient = "path"

    def __init__(self, num_particles: int = 10, power: float = -1.0) -> None:
        super().__init__(num_particles)
        self.power = real("power", power)
        if num_particles < 2 or self.power > 0:
            raise ModelError(
                f"tail-adaptive needs num_particles >= 2 and power <= 0, got {num_particles} and {power}"
            )

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(terms.log_weight)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N]: importance weights for theta, weights by rank where they reach the guide."""
        log_weight = terms.log_weight.detach()
        # A weight that underflowed carries nothing for theta; the floor keeps phi's ratio finite.
        model_weight = log_weight.softmax(0).clamp_min(torch.finfo(log_weight.dtype).tiny ** 0.5)
        scale_at_draws(terms, tail_weights(log_weight, self.power) / model_weight)
        return (model_weight * terms.log_weight).sum(0)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, power={self.power}"


def tail_weights(log_weight: Tensor, power: float = -1.0) -> Tensor:
    """The normalised weights F(w_k)^power of log weights [K, N]: [K, N], of sum 1 over the draws."""
    at_least = (log_weight.unsqueeze(0) >= log_weight.unsqueeze(1)).to(log_weight.dtype).mean(1)
    weight = at_least.pow(power)
    return weight / weight.sum(0)
