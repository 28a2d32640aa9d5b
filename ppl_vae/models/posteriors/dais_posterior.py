r"""Differentiable annealed importance sampling as a guide (Geffner & Domke 2021; Zhang et al. 2021).

Around any reparameterised posterior q_0 stands a chain over K densities between it and the model's own,

    log f_k(z) = (1 - b_k) log q_0(z|x) + b_k log p(x, z),     0 < b_1 < ... < b_K = 1

one leapfrog step each: z' = z + s v / 2, v' = v + s grad log f_k(z'), z'' = z' + s v' / 2. There is no rejection,
so that the bound (``chain_distribution``) is differentiable in everything: step sizes s [L], the momentum that is
kept g, and b_k are learned with model and guide. The gap to log p(x) falls like 1 / K (Zhang et al. 2021).

Geffner & Domke (2021): https://arxiv.org/abs/2107.04150
Zhang, Hsu, Li, Finn & Grosse (2021): https://arxiv.org/abs/2107.10211
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.models.posteriors.chain_distribution import force, log_normal
from ppl_vae.models.posteriors.chain_posterior import ChainPosterior, LogDensity
from ppl_vae.precision import scale

MOMENTUM_KEPT = 0.9


class DAISPosterior(ChainPosterior):
    """A posterior that is moved towards p(z|x) by annealed Hamiltonian steps.

    Args:
        of: the posterior q_0 that the chain starts from: a name, a configuration, or a module.
        num_steps: K; each costs one gradient of log p(x, z).
        step_size: s at the start, the same in every dimension.
        second_order: whether gradients flow through the forces, as in the paper. Without, the forces are constants:
            half the time a step, and a biased gradient; the value of the bound is the same.

    Raises:
        ModelError: a number is out of its range; q_0 has its density at its own draws alone.
    """

    name = "dais"

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make q_0, and the chain's own: L step sizes, K shares of the way, what is kept of a momentum."""
        super().build(num_features, latent_dim)
        if self.num_steps > 1:
            self.shares = nn.Parameter(torch.zeros(self.num_steps))
            self.kept = nn.Parameter(torch.tensor(math.log(MOMENTUM_KEPT / (1 - MOMENTUM_KEPT))))

    def way(self, start: dist.TorchDistribution, target: LogDensity, z: Tensor) -> tuple[Tensor, Tensor]:
        """Move draws z [*particles, N, L] of q_0 over the bridges to log p(x, z)."""
        step, bridges, kept = scale(self.log_step), self._bridges(), self._kept()
        v, gained = torch.randn_like(z), z.new_zeros(z.shape[:-1])
        for k in range(self.num_steps):
            if k:
                v = kept * v + (1 - kept.square()).sqrt() * torch.randn_like(z)
            gained = gained + log_normal(v)
            z = z + 0.5 * step * v
            v = v + step * force(_bridge(start, target, bridges[k]), z, self.second_order)
            z = z + 0.5 * step * v
            gained = gained - log_normal(v)
        return z, gained

    def _bridges(self) -> Tensor:
        """The weights b_1, ..., b_K, which rise to one."""
        if self.num_steps == 1:
            return torch.ones_like(self.log_step[:1])
        # The last is one whatever the shares are.
        return torch.cat([self.shares.softmax(0).cumsum(0)[:-1], torch.ones_like(self.shares[:1])])

    def _kept(self) -> Tensor:
        return self.kept.sigmoid() if self.num_steps > 1 else torch.zeros_like(self.log_step[0])


def _bridge(start: dist.TorchDistribution, target: LogDensity, weight: Tensor) -> LogDensity:
    """The log density log f_k, but for a constant."""
    return lambda z: (1 - weight) * start.log_prob(z) + weight * target(z)
