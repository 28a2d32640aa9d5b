"""Posteriors on spaces that are not flat: heads for a direction or point, and for a concentration or scale.

Davidson et al. (2018), "Hyperspherical variational auto-encoders": https://arxiv.org/abs/1804.00891
De Cao & Aziz (2020), "The power spherical distribution": https://arxiv.org/abs/2006.04437
Mathieu et al. (2019), "Continuous hierarchical representations with Poincare VAEs": https://arxiv.org/abs/1901.06033
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.distributions import PowerSpherical, VonMises, VonMisesFisher, WrappedNormal
from ppl_vae.distributions.wrapped_normal import from_tangent
from ppl_vae.models.configuration import Configured
from ppl_vae.precision import positive_scale, widened
from ppl_vae.spaces import POINCARE_BALL, SPHERE, TORUS

# Up to here the mean cosine's derivative keeps four digits; the spread of an angle is then 0.001 radian.
MOST_CONCENTRATION = 1e6
# For every free dimension; the mean cosine is then 0.87 or more.
STARTING_CONCENTRATION = 4.0
# Distances from the centre of a ball at which single precision still knows where a point is.
FARTHEST_LOC, LARGEST_SCALE = 5.0, 1.5


def concentration(h: Tensor) -> Tensor:
    """The concentration softplus(h), from exp(-20) to a million."""
    return positive_scale(h).clamp(max=MOST_CONCENTRATION)


def started(head: nn.Linear, num_free: int) -> nn.Linear:
    """Start a head of concentrations where a draw is near its mean direction, of so many free dimensions.

    From softplus(0) draws are next to uniform: the decoder learns to do without them, and the guide never leaves.
    """
    nn.init.constant_(head.bias, STARTING_CONCENTRATION * num_free)
    return head


class SphericalHeads(Configured):
    """The heads of a direction and a concentration."""

    space = SPHERE

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads."""
        self.loc_head = nn.Linear(num_features, latent_dim)
        self.scale_head = started(nn.Linear(num_features, 1), latent_dim - 1)

    def direction(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The mean direction [*batch, L] and the concentration [*batch] of features [*batch, H]."""
        h = widened(self.loc_head(features))
        # A head that says nothing points along the first axis.
        nowhere = (h == 0).all(-1, keepdim=True)
        h = torch.cat([torch.where(nowhere, 1.0, h[..., :1]), h[..., 1:]], -1)
        loc = nn.functional.normalize(h, dim=-1, eps=torch.finfo(h.dtype).tiny)
        return loc, concentration(widened(self.scale_head(features))).squeeze(-1)


class VonMisesFisherPosterior(SphericalHeads):
    """The posterior q(z|x) = vMF(mu(x), k(x)): a normalised head and a softplus."""

    name = "von-mises-fisher"

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        return VonMisesFisher(*self.direction(features))


class PowerSphericalPosterior(SphericalHeads):
    """The posterior q(z|x) of a power spherical law, with heads as of the von Mises-Fisher posterior."""

    name = "power-spherical"

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        return PowerSpherical(*self.direction(features))


class VonMisesPosterior(Configured):
    """The posterior q(z|x) of L independent angles, each the angle of two heads."""

    name = "von-mises"
    space = TORUS

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads: 2 L for the directions, L for the concentrations."""
        self.loc_head = nn.Linear(num_features, 2 * latent_dim)
        self.scale_head = started(nn.Linear(num_features, latent_dim), 1)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        cosine, sine = widened(self.loc_head(features)).chunk(2, -1)
        return VonMises(torch.atan2(sine, cosine), concentration(widened(self.scale_head(features)))).to_event(1)


class WrappedNormalPosterior(Configured):
    """The posterior q(z|x) of a wrapped normal on the Poincare ball.

    The location is at most 5 from the centre and scales are at most 1.5, where single precision knows a point.
    """

    name = "wrapped-normal"
    space = POINCARE_BALL

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads."""
        self.loc_head = nn.Linear(num_features, latent_dim)
        self.scale_head = nn.Linear(num_features, latent_dim)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        h = widened(self.loc_head(features))
        length = (h.square().sum(-1, keepdim=True) + torch.finfo(h.dtype).tiny).sqrt()
        tangent = h * (FARTHEST_LOC * (length / FARTHEST_LOC).tanh() / length)
        scale = positive_scale(widened(self.scale_head(features))).clamp(max=LARGEST_SCALE)
        return WrappedNormal(from_tangent(tangent.double()).to(h.dtype), scale)
