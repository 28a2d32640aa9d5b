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

from ppl_vae.checks import integer, positive
from ppl_vae.declared import declared
from ppl_vae.models.configuration import Configured, Spec, remembers
from ppl_vae.models.posteriors.chain_distribution import ChainDistribution, force, log_joint, log_normal
from ppl_vae.models.posteriors.dais_posterior import wrapped_posterior
from ppl_vae.models.programs import GenerativeProgram
from ppl_vae.models.protocols import Posterior
from ppl_vae.precision import require_single, scale

# B at the start.
TEMPERING = 0.5


class HamiltonianPosterior(Configured):
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
    invertible = False

    @remembers
    def __init__(
        self, of: Spec = "diagonal", num_steps: int = 4, step_size: float = 0.1, second_order: bool = True
    ) -> None:
        super().__init__()
        self.of = wrapped_posterior(self.name, of)
        self.num_steps = integer("num_steps", num_steps)
        self.step_size, self.second_order = positive("step_size", step_size), bool(second_order)

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make q_0, L step sizes and the tempering."""
        declared(Posterior, self.of).build(num_features, latent_dim)
        self.log_step = nn.Parameter(torch.full((latent_dim,), math.log(self.step_size)))
        self.tempering = nn.Parameter(torch.tensor(math.log(TEMPERING / (1 - TEMPERING))))

    def attach(self, model: GenerativeProgram) -> None:
        """Give the posterior the model in whose density it moves."""
        # In a tuple, so that nn.Module does not take the model for a part of the posterior.
        self._model = (model,)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q_0(z|x) of features [*batch, H]."""
        start: dist.TorchDistribution = self.of(features)
        return start

    def refine(self, q: dist.TorchDistribution, x: Tensor) -> dist.TorchDistribution:
        """The law of the trajectory's end for data [N, *event_shape]."""
        require_single(self.name, self.log_step)
        target = log_joint(self._model[0], x)

        def way(start: dist.TorchDistribution, z: Tensor) -> tuple[Tensor, Tensor]:
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

        return ChainDistribution(q, way)

    def _warmth(self) -> Tensor:
        """The standard deviations 1 / sqrt(B_k) of the momentum, k from 0 to K, which fall to one."""
        share = torch.arange(self.num_steps + 1, device=self.log_step.device) / self.num_steps
        extra = self.tempering.sigmoid().rsqrt() - 1
        return 1 + extra * (1 - share.square()).to(extra.dtype)
