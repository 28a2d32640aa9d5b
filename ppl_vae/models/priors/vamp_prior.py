"""The VampPrior (Tomczak & Welling 2018, eq. 9): a mixture of the guide's own posteriors.

p(z) = (1/C) sum_c q(z | u_c),        u_c learned pseudo-inputs in the data's space

Tomczak & Welling (2018): https://arxiv.org/abs/1705.07120
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.models.programs import GuideProgram
from ppl_vae.models.protocols import Posterior


class VampPrior(Configured):
    """A mixture of q(z | u_c) with equal weights, the pseudo-inputs u_c learned.

    They start uniform in [0, 1], or as data: ``vae.initialise(x)`` takes the first C data of a shuffle.

    Args:
        num_components: C (500 in the paper).
    """

    name = "vamp"

    @remembers
    def __init__(self, num_components: int = 500) -> None:
        super().__init__()
        self.num_components = whole("num_components", num_components)

    def attach(self, guide: GuideProgram, event_shape: tuple[int, ...]) -> None:
        """Give the prior its guide, whose parameters stay the guide's own.

        Raises:
            ModelError: the guide's density is not known at every z.
        """
        posterior = declared(Posterior, guide.posterior)
        if not posterior.invertible:
            kind = posterior.name or type(guide.posterior).__name__
            raise ModelError(
                f"prior {self.name!r} is a mixture of the guide's densities at any z, and a posterior of kind "
                f"{kind!r} has its density at its own draws alone: use another posterior or prior"
            )
        # In a tuple, so that nn.Module does not take the guide for a part of the prior.
        self._guide = (guide,)
        self.pseudo_inputs = nn.Parameter(torch.rand(self.num_components, *event_shape))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start the pseudo-inputs at data [N, *event_shape], with repetition where N is smaller than C."""
        order = torch.randperm(len(x), device=x.device)
        index = order[torch.arange(self.num_components, device=x.device) % len(x)]
        self.pseudo_inputs.copy_(x[index])

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        (guide,) = self._guide
        components = guide.amortised(self.pseudo_inputs)
        weights = dist.Categorical(logits=components.mean.new_zeros(self.num_components))
        return dist.MixtureSameFamily(weights, components)
