r"""Score-function (REINFORCE) estimators: they need no derivative through the draws, so discrete sites are fine.

    d/d phi E_q f(z) = E_q [ (f(z) - b) d log q(z) / d phi ],        f = log p(x, z) - log q(z|x)

for any baseline b that does not depend on z (Williams 1992; Paisley, Blei & Jordan 2012). E_q d f / d phi = 0,
so f is not differentiated by phi. The draws are constants; only log q carries phi.

Williams (1992): https://doi.org/10.1007/BF00992696
Paisley, Blei & Jordan (2012): https://arxiv.org/abs/1206.6430
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.estimators.two_levels import left_out
from ppl_vae.inference.pair.terms import Gradient, Terms


def score_surrogate(terms: Terms, model_weight: Tensor | float, signal: Tensor) -> Tensor:
    """The surrogate [N]: sum_k model_weight_k (log p(x|z_k) + log p(z_k)) + signal_k log q(z_k|x)."""
    model_part = terms.log_likelihood + terms.kl_weight * terms.log_prior
    return (model_weight * model_part + signal.detach() * terms.log_guide).sum(0)


class ScoreFunction(Estimator):
    """The ELBO by Monte Carlo, its gradient by the score function.

    Twin of the value: ``pyro.infer.Trace_ELBO``; of the gradient: Trace_ELBO on a non-reparameterised guide,
    and with a running baseline ``pyro.infer.TraceGraph_ELBO`` with use_decaying_avg_baseline.

    Args:
        num_particles: K.
        baseline: None, or "running": the exponential average of f over earlier steps of training.
        decay: of that average.
    """

    target = "elbo"
    side = "lower"

    gradient: Gradient = "score"
    average: Tensor
    weight: Tensor

    def __init__(self, num_particles: int = 1, baseline: str | None = None, decay: float = 0.9) -> None:
        super().__init__(num_particles)
        if baseline not in (None, "running"):
            raise ModelError(unknown_name("baseline", baseline, ["running"]))
        self.baseline = baseline
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        return terms.log_weight.mean(0)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N]: (f - b) log q, and the model's part of f."""
        f = terms.log_weight.detach()
        if self.baseline is not None:
            f = f - self._running_average()
        return score_surrogate(terms, 1 / len(f), f / len(f))

    def baseline_of_set(self, terms: Terms, signal: Tensor) -> Tensor:
        """The running average of a datum's signal times their number; 0 without one."""
        return torch.zeros_like(signal) if self.baseline is None else terms.num_total * self._running_average()

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the mean of the bound over the batch, nats per datum; the running average takes the batch in."""
        loss = super().forward(terms, step)
        if self.baseline is not None and self.training and torch.is_grad_enabled():
            self.average.mul_(self.decay).add_(terms.log_weight.detach().mean(), alpha=1 - self.decay)
            self.weight.mul_(self.decay).add_(1 - self.decay)
        return loss

    def _running_average(self) -> Tensor:
        """The average before this batch, so that it is no function of these draws."""
        # Divided by its own weight, or the zeros it starts from would count as data.
        return self.average / self.weight.clamp_min(1e-12)

    def reset(self) -> None:
        """Forget the running average."""
        self.average.zero_()
        self.weight.zero_()

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, baseline={self.baseline!r}, decay={self.decay}"


class RLOO(Estimator):
    """The score function with leave-one-out baselines b_k = mean of the other f_j (Kool et al. 2019).

    Equal to the unbiased sample covariance of f and the score. Needs K >= 2.

    Kool, van Hoof & Welling (2019), "Buy 4 REINFORCE samples, get a baseline for free!"
    """

    target = "elbo"
    side = "lower"

    gradient: Gradient = "score"

    def __init__(self, num_particles: int = 2) -> None:
        super().__init__(_several("rloo", num_particles))

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        return terms.log_weight.mean(0)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N]: (f_k - mean of the others) log q_k."""
        f = terms.log_weight.detach()
        baseline = (f.sum(0) - f) / (len(f) - 1)
        return score_surrogate(terms, 1 / len(f), (f - baseline) / len(f))

    def baseline_of_set(self, terms: Terms, signal: Tensor) -> Tensor:
        """The mean of the other draws' signals."""
        return left_out(signal)


class VIMCO(Estimator):
    """The bound L_K with a leave-one-out score function (Mnih & Rezende 2016), unbiased for its gradient.

    The signal of draw k is L_K - L_-k, where L_-k has log w_k replaced by the mean of the other log weights.
    Needs K >= 2.

    Mnih & Rezende (2016): https://arxiv.org/abs/1602.06725
    """

    target = "evidence"
    side = "lower"

    gradient: Gradient = "score"

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(_several("vimco", num_particles))

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(terms.log_weight)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate of every datum: [N]."""
        log_weight = terms.log_weight.detach()
        weight = log_weight.softmax(0)
        signal = log_mean_exp(log_weight) - _leave_one_out(log_weight) - terms.kl_weight * weight
        return score_surrogate(terms, weight, signal)


def _leave_one_out(log_weight: Tensor) -> Tensor:
    """The bound L_-k without draw k, for every k: [K, N]."""
    count = len(log_weight)
    mean_of_others = (log_weight.sum(0) - log_weight) / (count - 1)
    replaced = log_weight.expand(count, *log_weight.shape).clone()
    index = torch.arange(count)
    replaced[index, index] = mean_of_others
    return replaced.logsumexp(1) - math.log(count)


def _several(name: str, num_particles: int) -> int:
    if not isinstance(num_particles, int) or num_particles < 2:
        raise ModelError(
            f"{name} compares draws with each other: num_particles must be at least 2, got {num_particles}"
        )
    return num_particles
