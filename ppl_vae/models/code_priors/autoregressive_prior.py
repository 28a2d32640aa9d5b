r"""An autoregressive prior of real codes: every coordinate has a mixture of Gaussians given those before it.

    p(z) = prod_l sum_c w_c(z_<l) N(z_l; m_c(z_<l), s_c(z_<l)^2)

The weights, means and scales come from one masked network (RNADE's conditionals, Uria, Murray & Larochelle 2013, by
the masks of Germain, Gregor, Murray & Larochelle 2015), so that a density costs one pass and a draw L of them. With
several components a coordinate may have several modes, which no affine step of a flow gives it.

Uria, Murray & Larochelle (2013): https://arxiv.org/abs/1306.0186
Germain, Gregor, Murray & Larochelle (2015): https://arxiv.org/abs/1502.03509
"""

from __future__ import annotations

from typing import cast

import torch
from pyro import distributions as dist
from pyro.nn import AutoRegressiveNN
from torch import Tensor

from ppl_vae.checks import whole
from ppl_vae.models.code_priors.of_functions import OfFunctions
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.models.priors.flow_prior import require_room
from ppl_vae.precision import require_single, scale


class AutoregressivePrior(Configured):
    """The prior p(z) of one masked network, all of it learned.

    Args:
        num_components: C of every coordinate.
        hidden: the width of the two hidden layers; at least the latent dimension.
    """

    name = "autoregressive"
    loc: Tensor

    @remembers
    def __init__(self, num_components: int = 5, hidden: int = 64) -> None:
        super().__init__()
        self.num_components = whole("num_components", num_components)
        self.hidden = whole("hidden", hidden)

    def build(self, latent_dim: int) -> None:
        """Make the network; its components start apart, at points from -2 to 2."""
        require_room(self.name, latent_dim, self.hidden)
        order = cast(torch.LongTensor, torch.arange(latent_dim))
        number = self.num_components
        self.network = AutoRegressiveNN(latent_dim, [self.hidden] * 2, param_dims=[number] * 3, permutation=order)
        self.register_buffer("loc", torch.linspace(-2, 2, number + 2)[1:-1, None], persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        require_single(self.name, self.loc)
        return OfFunctions(self.log_density, self.draw, self.network.input_dim)

    def log_density(self, z: Tensor) -> Tensor:
        """The log density of codes [*batch, L]: [*batch], nats."""
        return self._conditionals(z).log_prob(z).sum(-1)

    def draw(self, shape: torch.Size) -> Tensor:
        """Draw codes [*shape, L], one coordinate after the other."""
        z = self.loc.new_zeros(*shape, self.network.input_dim)
        for place in range(self.network.input_dim):
            z[..., place] = self._conditionals(z).sample()[..., place]
        return z

    def _conditionals(self, z: Tensor) -> dist.TorchDistribution:
        """The law of every coordinate given those before it: batch shape [*batch, L]."""
        # With one component Pyro drops the dimension of components.
        parts = [part.reshape(*z.shape[:-1], self.num_components, -1) for part in self.network(z)]
        logits, loc, log_scale = (part.transpose(-1, -2) for part in (parts[0], parts[1] + self.loc, parts[2]))
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(loc, scale(log_scale)))
