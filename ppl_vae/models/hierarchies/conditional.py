"""The conditional p(b|a) of one latent given another: a network on a, and a family on its features."""

from __future__ import annotations

from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.models.programs import num_features
from ppl_vae.models.protocols import Posterior, nothing
from ppl_vae.precision import fed


class Conditional(nn.Module):
    """One arrow of a plate diagram, from a latent to a latent.

    Args:
        network: [B, D_a] -> features [B, H].
        family: features -> distribution with event shape [D_b]; a Posterior whose ``build`` was not called yet.
        from_dim: D_a.
        to_dim: D_b.
    """

    def __init__(self, network: nn.Module, family: nn.Module, from_dim: int, to_dim: int) -> None:
        super().__init__()
        self.network = network
        self.family = built(family, num_features(network, (from_dim,)), to_dim)

    def forward(self, a: Tensor) -> dist.TorchDistribution:
        """The conditional p(b|a) of a [*batch, D_a]: batch shape [*batch], event shape [D_b]."""
        return self.family(self.network(fed(self.network, a.flatten(0, -2))).unflatten(0, a.shape[:-1]))


def built(family: nn.Module, num_features: int, dim: int) -> nn.Module:
    """Make the heads of a family of distributions.

    Raises:
        ModelError: it needs the whole model beside it, as a semi-amortised posterior does.
    """
    posterior = declared(Posterior, family)
    if posterior.attach is not nothing:
        name = posterior.name or type(family).__name__
        raise ModelError(f"posterior {name!r} needs a model with one latent site; it cannot be a part of several")
    posterior.build(num_features, dim)
    return family
