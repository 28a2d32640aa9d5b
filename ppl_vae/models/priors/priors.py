"""Priors p(z): modules whose forward returns a distribution with event shape [latent_dim]."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.models.code_priors.autoregressive_prior import AutoregressivePrior
from ppl_vae.models.code_priors.diffusion_prior import DiffusionPrior
from ppl_vae.models.code_priors.noise_contrastive_prior import NoiseContrastivePrior
from ppl_vae.models.configuration import Configured, Constructors, Spec, from_spec, remembers
from ppl_vae.models.priors.curved_priors import SphericalPrior, TorusPrior, WrappedNormalPrior
from ppl_vae.models.priors.flat_prior import FlatPrior
from ppl_vae.models.priors.flow_prior import FlowPrior
from ppl_vae.models.priors.vamp_prior import VampPrior
from ppl_vae.precision import scale, widened


class StandardNormalPrior(Configured):
    """The prior p(z) = N(0, I)."""

    name = "standard"
    loc: Tensor
    scale: Tensor

    def build(self, latent_dim: int) -> None:
        """Fix the dimension of z."""
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        return dist.Normal(widened(self.loc), widened(self.scale)).to_event(1)


class DiagonalNormalPrior(Configured):
    """The prior p(z) = N(m, diag s^2) with m and s learned; it starts at N(0, I)."""

    name = "diagonal"

    def build(self, latent_dim: int) -> None:
        """Make the parameters: 2 L of them."""
        self.loc = nn.Parameter(torch.zeros(latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        return dist.Normal(widened(self.loc), scale(widened(self.log_scale))).to_event(1)


class MixturePrior(Configured):
    """The prior p(z) = sum_c w_c N(m_c, diag s_c^2), all learned (Dilokthanakul et al. 2016).

    The means start as draws of N(0, I) and the scales at one, so that the mixture starts near the standard
    normal but its components can tell themselves apart.

    Dilokthanakul et al. (2016): https://arxiv.org/abs/1611.02648

    Args:
        num_components: C.
    """

    name = "mixture"

    @remembers
    def __init__(self, num_components: int = 10) -> None:
        super().__init__()
        self.num_components = whole("num_components", num_components)

    def build(self, latent_dim: int) -> None:
        """Make the parameters: C weights, C L means and scales."""
        self.logits = nn.Parameter(torch.zeros(self.num_components))
        self.loc = nn.Parameter(torch.randn(self.num_components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(self.num_components, latent_dim))

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        components = dist.Normal(widened(self.loc), scale(widened(self.log_scale))).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=widened(self.logits)), components)


PRIORS: Constructors = {
    kind.name: kind
    for kind in (
        StandardNormalPrior,
        DiagonalNormalPrior,
        MixturePrior,
        VampPrior,
        FlowPrior,
        FlatPrior,
        SphericalPrior,
        TorusPrior,
        WrappedNormalPrior,
        AutoregressivePrior,
        NoiseContrastivePrior,
        DiffusionPrior,
    )
}


def prior(spec: Spec) -> nn.Module:
    """The prior behind a name, a stored configuration, or itself.

    Raises:
        ModelError: the name is unknown.
    """
    return from_spec("prior", spec, PRIORS)
