r"""A posterior with several modes: a mixture of diagonal Gaussians.

    q(z|x) = sum_c w_c(x) N(z; m_c(x), diag s_c(x)^2)

Its draws are differentiable in all parameters, the weights among them, by implicit reparameterisation
(Figurnov, Mohamed & Mnih 2018, section 4): coordinate j of a draw is held at its quantile under
q(z_j | z_<j), itself a mixture whose weights are what z_<j leaves of w,

    dz_j = - dF(z_j | z_<j) / q(z_j | z_<j)

(``pyro.distributions.MixtureOfDiagNormals`` of Pyro 1.9.2 has gradients too, but in a batch its derivative
by the weights is not that of any expectation.)

Figurnov, Mohamed & Mnih (2018): https://arxiv.org/abs/1805.08498
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.precision import scale, widened


class DiagonalMixture(dist.MixtureSameFamily):
    """A mixture of diagonal normals with draws that are differentiable in all of its parameters."""

    has_rsample = True

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw [*sample, *batch, L]."""
        z = self.sample(sample_shape)
        normal = self.component_distribution.base_dist
        log_weight = self.mixture_distribution.logits
        coordinates: list[Tensor] = []
        for j in range(z.shape[-1]):
            component = dist.Normal(normal.loc[..., j], normal.scale[..., j])
            share = log_weight.softmax(-1)
            fixed = z[..., j, None]
            quantile = (share * component.cdf(fixed)).sum(-1)
            density = (share * component.log_prob(fixed).exp()).sum(-1).detach()
            moving = z[..., j] - (quantile - quantile.detach()) / density
            log_weight = log_weight + component.log_prob(moving.unsqueeze(-1))
            coordinates.append(moving)
        return torch.stack(coordinates, -1)


class MixturePosterior(Configured):
    """The posterior q(z|x) = sum_c w_c(x) N(m_c(x), diag s_c(x)^2), linear heads on the encoder's features.

    Args:
        num_components: C.
    """

    name = "mixture"

    @remembers
    def __init__(self, num_components: int = 3) -> None:
        super().__init__()
        self.num_components = whole("num_components", num_components)

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads: C L means and scales, C weights."""
        self.loc_head = nn.Linear(num_features, self.num_components * latent_dim)
        self.scale_head = nn.Linear(num_features, self.num_components * latent_dim)
        self.weight_head = nn.Linear(num_features, self.num_components)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        shape = (self.num_components, -1)
        loc = widened(self.loc_head(features)).unflatten(-1, shape)
        spread = scale(0.5 * widened(self.scale_head(features))).unflatten(-1, shape)
        weights = dist.Categorical(logits=widened(self.weight_head(features)))
        return DiagonalMixture(weights, dist.Normal(loc, spread).to_event(1))
