"""A posterior whose draws are moved by a chain of the model's own forces: what all such chains share.

Around any reparameterised posterior q_0 with a density; ``chain_distribution`` says what is told as log q.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import integer, positive
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Configured, Spec, remembers
from ppl_vae.models.posteriors.chain_distribution import ChainDistribution, log_joint
from ppl_vae.models.programs import GenerativeProgram
from ppl_vae.models.protocols import Posterior
from ppl_vae.precision import require_single

LogDensity = Callable[[Tensor], Tensor]


class ChainPosterior(Configured):
    """A posterior that begins at q_0 and is moved in K steps; a chain says how, by ``way``.

    Args:
        of: the posterior q_0 that the chain starts from: a name, a configuration, or a module.
        num_steps: K.
        step_size: s at the start, learned for every dimension.
        second_order: whether gradients flow through the forces.

    Raises:
        ModelError: a number is out of its range; q_0 has its density at its own draws alone.
    """

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
        """Make q_0 and L step sizes."""
        declared(Posterior, self.of).build(num_features, latent_dim)
        self.log_step = nn.Parameter(torch.full((latent_dim,), math.log(self.step_size)))

    def attach(self, model: GenerativeProgram) -> None:
        """Give the posterior the model whose density moves it."""
        # In a tuple, so that nn.Module does not take the model for a part of the posterior.
        self._model = (model,)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q_0(z|x) of features [*batch, H]."""
        start: dist.TorchDistribution = self.of(features)
        return start

    def refine(self, q: dist.TorchDistribution, x: Tensor) -> dist.TorchDistribution:
        """The law of the chain's end for data [N, *event_shape]."""
        require_single(self.name, self.log_step)
        target = log_joint(self._model[0], x)
        return ChainDistribution(q, lambda start, z: self.way(start, target, z))

    @abstractmethod
    def way(self, start: dist.TorchDistribution, target: LogDensity, z: Tensor) -> tuple[Tensor, Tensor]:
        """Move draws z [*particles, N, L] of ``start``; their end, and sum_k [log N(v_k) - log N(v_k')]."""


def wrapped_posterior(name: str, of: Spec) -> nn.Module:
    """The posterior from which the chain ``name`` starts.

    Raises:
        ModelError: it is unknown, or has its density at its own draws alone, or is a chain or refined itself.
    """
    # The table holds the chains too.
    from ppl_vae.models.posteriors.posteriors import posterior

    inner = posterior(of)
    part = declared(Posterior, inner)
    if not part.invertible or part.name in ("semi-amortised", "point") or not part.space.flat:
        raise ModelError(
            f"posterior {name!r} moves draws by gradients of the density they start from, in Euclidean space, and "
            f"{part.name or type(inner).__name__!r} has none: choose another of="
        )
    return inner
