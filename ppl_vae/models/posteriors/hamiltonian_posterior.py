r"""The Hamiltonian VAE's guide (Caterini, Doucet & Sejdinovic 2018): one trajectory in the model's own density.

    z_0 ~ q_0(z|x),  v_0 = noise / sqrt(B),   K leapfrog steps of log p(x, z), each followed by v <- a_k v

with a_k = sqrt(B_k-1 / B_k), B_0 = B < 1 and B_K = 1, on the schedule (eq. 9)

    1 / sqrt(B_k) = 1 + (1 / sqrt(B) - 1) (1 - k^2 / K^2)

The momentum is warm at first and cools. Volumes shrink by B^(L/2), which is what the start was wider by, so that
both leave the weight (eq. 8):

    log w = log p(x, z_K) + log N(v_K) - log q_0(z_0|x) - log N(noise)

Caterini, Doucet & Sejdinovic (2018): https://arxiv.org/abs/1805.11328
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.models.posteriors.chain_distribution import force, log_normal
from ppl_vae.models.posteriors.chain_posterior import ChainPosterior, LogDensity
from ppl_vae.precision import scale

# B at the start.
TEMPERING = 0.5


class HamiltonianPosterior(ChainPosterior):
    """A posterior whose draws are carried along a Hamiltonian trajectory of the model.

    Args:
        of: the posterior q_0 that it starts from: a name, a configuration, or a module.
        num_steps: K; each costs one gradient of log p(x, z), and one more for the trajectory.
        step_size: of a leapfrog at the start, learned for every dimension.
        second_order: whether gradients flow through the forces; the value of the bound is the same without.

    Raises:
        ModelError: a number is out of its range; q_0 has its density at its own draws alone.
    """

    name = "hamiltonian"

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make q_0, L step sizes and the tempering."""
        super().build(num_features, latent_dim)
        self.tempering = nn.Parameter(torch.tensor(math.log(TEMPERING / (1 - TEMPERING))))

    def way(self, start: dist.TorchDistribution, target: LogDensity, z: Tensor) -> tuple[Tensor, Tensor]:
        """Carry draws z [*particles, N, L] of q_0 along the trajectory."""
        step, warmth = scale(self.log_step), self._warmth()
        noise = torch.randn_like(z)
        v = warmth[0] * noise
        slope = force(target, z, self.second_order)
        for k in range(self.num_steps):
            v = v + 0.5 * step * slope
            z = z + step * v
            slope = force(target, z, self.second_order)
            v = (v + 0.5 * step * slope) * (warmth[k + 1] / warmth[k])
        return z, log_normal(noise) - log_normal(v)

    def _warmth(self) -> Tensor:
        """The standard deviations 1 / sqrt(B_k) of the momentum, k from 0 to K, which fall to one."""
        share = torch.arange(self.num_steps + 1, device=self.log_step.device) / self.num_steps
        extra = self.tempering.sigmoid().rsqrt() - 1
        return 1 + extra * (1 - share.square()).to(extra.dtype)
