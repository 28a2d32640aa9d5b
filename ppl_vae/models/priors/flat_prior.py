"""The improper prior of a deterministic autoencoder (Ghosh et al. 2020, https://arxiv.org/abs/1903.12436)."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch.distributions import constraints

from ppl_vae.distributions import Flat
from ppl_vae.models.configuration import Configured


class FlatPrior(Configured):
    """The improper prior that is the same everywhere: every code is as good as another."""

    name = "flat"

    def build(self, latent_dim: int) -> None:
        """Fix the dimension of z."""
        self.latent_dim = latent_dim

    def forward(self) -> dist.TorchDistribution:
        """The flat prior: batch shape (), event shape [latent_dim]; it cannot be drawn from."""
        return Flat(constraints.real_vector, torch.Size(), torch.Size((self.latent_dim,)))
