r"""Posteriors q(z|x): modules that turn an encoder's features [N, H] into a distribution over z.

The distribution has batch shape [N] and event shape [latent_dim]. Options are given by the user; ``build``
is called once by the model, when the number of features is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Configured, Constructors, Spec, from_spec, remembers
from ppl_vae.models.posteriors.curved_posteriors import (
    PowerSphericalPosterior,
    VonMisesFisherPosterior,
    VonMisesPosterior,
    WrappedNormalPosterior,
)
from ppl_vae.models.posteriors.dais_posterior import DAISPosterior
from ppl_vae.models.posteriors.flow_posterior import FlowPosterior
from ppl_vae.models.posteriors.hamiltonian_posterior import HamiltonianPosterior
from ppl_vae.models.posteriors.mixture_posterior import MixturePosterior
from ppl_vae.models.posteriors.point_posterior import PointPosterior
from ppl_vae.models.posteriors.semi_amortised_posterior import SemiAmortisedPosterior
from ppl_vae.precision import positive_scale, positive_variance, scale, widened

# From an unconstrained head h to a standard deviation, from exp(-20) to exp(20) in single precision.
SCALES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "log-variance": lambda h: scale(0.5 * h),
    "log-scale": scale,
    "softplus": positive_scale,
    "softplus-variance": lambda h: positive_variance(h).sqrt(),
}


class DiagonalPosterior(Configured):
    """The posterior q(z|x) = N(mu(x), diag s(x)^2), two linear heads on the encoder's features.

    Args:
        scale: how the second head gives the standard deviation s: "log-variance" (s = exp(h/2)),
            "log-scale" (s = exp h), "softplus" (s = softplus h) or "softplus-variance" (s^2 = softplus h).
    """

    name = "diagonal"

    @remembers
    def __init__(self, scale: str = "log-variance") -> None:
        super().__init__()
        if scale not in SCALES:
            raise ModelError(unknown_name("scale", scale, SCALES))
        self.scale = scale

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads."""
        self.loc_head = nn.Linear(num_features, latent_dim)
        self.scale_head = nn.Linear(num_features, latent_dim)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        spread = SCALES[self.scale](widened(self.scale_head(features)))
        return dist.Normal(widened(self.loc_head(features)), spread).to_event(1)


class FullCovariancePosterior(Configured):
    """The posterior q(z|x) = N(mu(x), L(x) L(x)'), L lower triangular, its diagonal a softplus.

    Kingma & Welling (2014): https://arxiv.org/abs/1312.6114
    """

    name = "full-covariance"
    _rows: Tensor
    _columns: Tensor

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads: d for the mean, d(d+1)/2 for the triangle."""
        self.loc_head = nn.Linear(num_features, latent_dim)
        self.scale_head = nn.Linear(num_features, latent_dim * (latent_dim + 1) // 2)
        rows, columns = torch.tril_indices(latent_dim, latent_dim)
        self.register_buffer("_rows", rows, persistent=False)
        self.register_buffer("_columns", columns, persistent=False)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        loc = widened(self.loc_head(features))
        raw = loc.new_zeros(*loc.shape, loc.shape[-1])
        raw[..., self._rows, self._columns] = widened(self.scale_head(features))
        diagonal = positive_scale(raw.diagonal(dim1=-2, dim2=-1))
        scale_tril = raw.tril(-1) + torch.diag_embed(diagonal)
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)


class LowRankGaussian(dist.LowRankMultivariateNormal):
    """The Gaussian N(loc, F F' + diag D), whose density is computed in double precision.

    It is a difference of two quadratic forms, of which single precision loses |F|^2 / D in their last digits.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, nats."""
        factor, diagonal = self._unbroadcasted_cov_factor.double(), self._unbroadcasted_cov_diag.double()
        wide = dist.LowRankMultivariateNormal(self.loc.double(), factor, diagonal, validate_args=False)
        return wide.log_prob(value.double()).to(value.dtype)


class LowRankPosterior(Configured):
    """The posterior q(z|x) = N(mu(x), F(x) F(x)' + diag d(x)) with F [latent_dim, rank].

    Rezende, Mohamed & Wierstra (2014): https://arxiv.org/abs/1401.4082

    Args:
        rank: the number of columns of F.
    """

    name = "low-rank"

    @remembers
    def __init__(self, rank: int = 2) -> None:
        super().__init__()
        self.rank = whole("rank", rank)

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads: L for the mean, L for the diagonal, L rank for the factor."""
        self.loc_head = nn.Linear(num_features, latent_dim)
        self.scale_head = nn.Linear(num_features, latent_dim)
        self.factor_head = nn.Linear(num_features, latent_dim * self.rank)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        loc = widened(self.loc_head(features))
        factor = widened(self.factor_head(features)).unflatten(-1, (loc.shape[-1], self.rank))
        return LowRankGaussian(loc, factor, positive_variance(widened(self.scale_head(features))))


POSTERIORS: Constructors = {
    kind.name: kind
    for kind in (
        DiagonalPosterior,
        FullCovariancePosterior,
        LowRankPosterior,
        FlowPosterior,
        MixturePosterior,
        SemiAmortisedPosterior,
        PointPosterior,
        VonMisesFisherPosterior,
        PowerSphericalPosterior,
        VonMisesPosterior,
        WrappedNormalPosterior,
        DAISPosterior,
        HamiltonianPosterior,
    )
}


def posterior(spec: Spec) -> nn.Module:
    """The posterior behind a name, a stored configuration, or itself.

    Raises:
        ModelError: the name is unknown.
    """
    return from_spec("posterior", spec, POSTERIORS)
