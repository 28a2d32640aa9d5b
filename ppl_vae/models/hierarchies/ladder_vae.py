r"""The ladder VAE (Sonderby, Raiko, Maaloe, Sonderby & Winther 2016): a hierarchy with a top-down guide.

    model:  z_L ~ p(z_L),   z_l ~ N(mu_l(z_l+1), diag s_l(z_l+1)^2)  for l = L-1, ..., 1,   x ~ p(x | decoder(z_1))
    guide:  d_1 = encoder(x),   d_l+1 = network_l(d_l)                           upwards, without noise
            z_L ~ N(m_L(d_L), diag v_L(d_L)^2)
            z_l ~ N(mu_l(z_l+1), diag s_l(z_l+1)^2) x N(m_l(d_l), diag v_l(d_l)^2), normalised      downwards

The product of the two Gaussians has the sum of their precisions, and their means weighted by precision. The guide
reads the model's own p(z_l | z_l+1) and draws in the model's order, so the closed-form KL is the divergence of the
joint. The sites are "z1" (next to the data) to "zL".

Sonderby, Raiko, Maaloe, Sonderby & Winther (2016): https://arxiv.org/abs/1602.02282
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.kl import diagonal_loc_scale
from ppl_vae.models.configuration import remembers
from ppl_vae.models.hierarchies.conditional import built
from ppl_vae.models.hierarchies.hierarchical_vae import (
    Between,
    HierarchicalProgram,
    between,
    between_config,
    checked_codes,
    checked_levels,
    downward,
    top_prior,
)
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.program_pair import Network, ProgramPair, on_request
from ppl_vae.models.programs import Recognition, num_features
from ppl_vae.randomness import seeded


class TopDownGuide(Recognition):
    """The guide q(z_L | x) q(z_L-1 | z_L, x) ... q(z_1 | z_2, x).

    Args:
        model: whose p(z_l | z_l+1) the guide multiplies with what it reads from x; its parameters stay the model's.
        encoder: [N, *event_shape] -> d_1 [N, H].
        upward: d_l -> d_l+1 for l = 1, ..., L-1.
        evidence: d_l -> the Gaussian N(m_l, diag v_l^2), for l = 1, ..., L.
        allows_missing: whether NaN in x stands for a missing coordinate, which the encoder sees as 0.
    """

    def __init__(
        self,
        model: HierarchicalProgram,
        encoder: nn.Module,
        upward: Sequence[nn.Module],
        evidence: Sequence[nn.Module],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, model.event_shape, allows_missing)
        self.upward = nn.ModuleList(upward)
        self.evidence = nn.ModuleList(evidence)
        # In a tuple, so that nn.Module does not take the model for a part of the guide.
        self._model = (model,)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z_L, ..., z_1 and returns the last of them."""
        with pyro.plate("data", self.begin(x)):
            *lower, top = self.read(x)
            z = pyro.sample(f"z{len(lower) + 1}", top)
            for level in range(len(lower), 0, -1):
                z = pyro.sample(f"z{level}", self.merged(level, z, lower[level - 1]))
            return z

    def read(self, x: Tensor) -> list[dist.TorchDistribution]:
        """The Gaussians N(m_l, diag v_l^2) for l = 1, ..., L that x [N, *event_shape] alone gives every level."""
        features = [self.features(x)]
        for network in self.upward:
            features.append(network(features[-1]))
        return [head(d) for head, d in zip(self.evidence, features, strict=True)]

    def merged(self, level: int, above: Tensor, read: dist.TorchDistribution) -> dist.TorchDistribution:
        """The conditional q(z_l | z_l+1, x) of z_l+1 [*batch, L_l+1] and x's Gaussian: batch shape [*batch]."""
        (model,) = self._model
        return gaussian_product(model.downward[level - 1](above), read)


def gaussian_product(a: dist.TorchDistribution, b: dist.TorchDistribution) -> dist.TorchDistribution:
    """The normalised product of two diagonal Gaussians (Sonderby et al. 2016: precision-weighted)."""
    (loc_a, scale_a), (loc_b, scale_b) = diagonal_loc_scale(a), diagonal_loc_scale(b)
    # In the form that stays finite where one of the two precisions underflows.
    share = scale_b.square() / (scale_a.square() + scale_b.square())
    scale = scale_a * scale_b / (scale_a.square() + scale_b.square()).sqrt()
    return dist.Normal(share * loc_a + (1 - share) * loc_b, scale).to_event(1)


class LadderVAE(ProgramPair):
    """L levels of Gaussian latents with a top-down guide that shares the model's conditionals.

    Args:
        event_shape: the shape of one datum.
        latent_dims: as of HierarchicalVAE.
        network: the same.
        hidden: the same.
        likelihood: the same.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a dimension below one, or parts that do not fit together.
    """

    kind = "ladder"
    model: HierarchicalProgram
    guide: TopDownGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dims: Sequence[int] = (20, 10),
        network: Network = "mlp",
        hidden: Between = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        _, observed = self.observe(event_shape, likelihood)
        self.remember(hidden=between_config(hidden))
        self.latent_dims = checked_levels(latent_dims)
        with seeded(seed):
            self._assemble(network, hidden, observed)

    def _assemble(self, network: Network, hidden: Between, likelihood: Likelihood) -> None:
        dims = self.latent_dims
        encoder, decoder = self.networks(network, dims[0], likelihood)
        self.model = HierarchicalProgram(
            top_prior(dims[-1]), downward(dims, hidden), decoder, likelihood, self.event_shape
        )
        sizes = [num_features(encoder, self.event_shape)]
        upward = []
        for _ in dims[1:]:
            upward.append(between(hidden, sizes[-1]))
            sizes.append(num_features(upward[-1], (sizes[-1],)))
        evidence = [built(DiagonalPosterior(), size, dim) for size, dim in zip(sizes, dims, strict=True)]
        self.guide = TopDownGuide(self.model, encoder, upward, evidence, likelihood.allows_missing)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z_1 | x, z_2, ..., z_L) at the guide's means above: batch shape [N], event shape [L_1].

        So that ``decode`` takes what it gives: the mean of it decodes to the reconstruction.
        """
        *lower, z = self.guide.read(self.own_data(x))
        for level in range(len(lower), 0, -1):
            z = self.guide.merged(level, z.mean, lower[level - 1])
        return z

    @on_request
    def encode_top(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z_L|x) of the top level for x [N, *event_shape]: batch shape [N], event shape [L_L]."""
        return self.guide.read(self.own_data(x))[-1]

    def codes(self, x: Array) -> Tensor:
        """The codes z_1 that ``decode`` takes, the guide's mean: [N, L_1]. ``level_codes`` has all levels."""
        return self.encode(x).mean

    def level_codes(self, x: Array) -> list[Tensor]:
        """The guide's mean of every level given its mean of the level above: [N, L_l] for l = 1, ..., L."""
        *lower, top = self.guide.read(self.own_data(x))
        means = [top.mean]
        for level in range(len(lower), 0, -1):
            means.append(self.guide.merged(level, means[-1], lower[level - 1]).mean)
        return means[::-1]

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x|z_1) for codes [*batch, L_1]: batch shape [*batch], event_shape as the data's."""
        return self.model.decode(checked_codes(self.to_own(z), self.latent_dims[0]))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z_1) at the guide's means, level by level: [N, *event_shape]."""
        return self.decode(self.codes(x)).mean
