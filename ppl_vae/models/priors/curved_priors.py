"""Priors on spaces that are not flat: uniform on a sphere or a torus, the wrapped normal around a ball's centre.

Davidson et al. (2018), "Hyperspherical variational auto-encoders": https://arxiv.org/abs/1804.00891
Mathieu et al. (2019), "Continuous hierarchical representations with Poincare VAEs": https://arxiv.org/abs/1901.06033
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.checks import positive
from ppl_vae.distributions import SphericalUniform, VonMises, WrappedNormal
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.precision import widened
from ppl_vae.spaces import POINCARE_BALL, SPHERE, TORUS


class SphericalPrior(Configured):
    """The uniform prior on the sphere of radius one in R^L."""

    name = "uniform-sphere"
    space = SPHERE
    like: Tensor

    def build(self, latent_dim: int) -> None:
        """Fix the dimension of z."""
        self.register_buffer("like", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        return SphericalUniform(widened(self.like))


class TorusPrior(Configured):
    """The uniform prior of L angles."""

    name = "uniform-torus"
    space = TORUS
    like: Tensor

    def build(self, latent_dim: int) -> None:
        """Fix the dimension of z."""
        self.register_buffer("like", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        like = widened(self.like)
        return VonMises(like, like).to_event(1)


class WrappedNormalPrior(Configured):
    """The wrapped normal around the centre of the Poincare ball.

    Args:
        scale: its standard deviation in units of distance; the root of c for a ball of curvature -c.

    Raises:
        ModelError: the scale is not positive and finite.
    """

    name = "wrapped-normal"
    space = POINCARE_BALL
    like: Tensor

    @remembers
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def build(self, latent_dim: int) -> None:
        """Fix the dimension of z."""
        self.register_buffer("like", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        like = widened(self.like)
        return WrappedNormal(like, like + self.scale)
