"""Priors p(z): modules whose forward returns a distribution with event shape [latent_dim]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.models.parts import from_spec


class StandardNormalPrior(nn.Module):
    """p(z) = N(0, I)."""

    name = "standard"
    loc: Tensor
    scale: Tensor

    def build(self, latent_dim: int) -> None:
        """Fix the dimension of z."""
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """p(z), batch shape (), event shape [latent_dim]."""
        return dist.Normal(self.loc, self.scale).to_event(1)

    @property
    def config(self) -> dict[str, Any]:
        """The name and options that make this prior again."""
        return {"name": self.name}


PRIORS: Mapping[str, Callable[..., nn.Module]] = {StandardNormalPrior.name: StandardNormalPrior}


def prior(spec: str | Mapping[str, Any] | nn.Module) -> nn.Module:
    """The prior behind a name, a stored configuration, or itself.

    Raises:
        ModelError: the name is unknown.
    """
    return from_spec("prior", spec, PRIORS)
