r"""A hierarchy of Gaussian latents with a bottom-up guide (Rezende et al. 2014; Burda et al. 2016).

    model:  z_L ~ p(z_L),   z_l ~ N(mu_l(z_l+1), diag s_l(z_l+1)^2)  for l = L-1, ..., 1,   x ~ p(x | decoder(z_1))
    guide:  z_1 ~ q(z_1 | encoder(x)),   z_l+1 ~ q(z_l+1 | z_l)  for l = 1, ..., L-1

The sites are "z1" (next to the data) to "zL". The guide draws them in the order opposite to the model's, so
log p(z_l | z_l+1) is no function of what the guide knew when it drew z_l: the sum of closed-form conditional KLs is
not the divergence of the joint, and "analytic-kl" refuses the pair by name. "monte-carlo-kl" is right. With one
level it is the VAE.

Rezende, Mohamed & Wierstra (2014): https://arxiv.org/abs/1401.4082
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Plain, plain, remembers
from ppl_vae.models.hierarchies.conditional import Conditional, built
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.posteriors.posteriors import posterior as make_posterior
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.networks import MLP, Architecture, architecture, architecture_config
from ppl_vae.randomness import seeded

# Sizes of hidden layers, or an architecture.
Between = Sequence[int] | str | Mapping[str, object] | Architecture


class HierarchicalProgram(LatentVariableProgram):
    """The program p(z_L) p(z_L-1 | z_L) ... p(x | z_1).

    Args:
        prior: forward gives p(z_L).
        downward: p(z_l | z_l+1) for l = 1, ..., L-1, in this order.
        decoder: [B, L_1] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|z_1).
        event_shape: the shape of one datum.
    """

    def __init__(
        self,
        prior: nn.Module,
        downward: Sequence[Conditional],
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.prior = prior
        self.downward = nn.ModuleList(downward)

    def latents(self) -> Tensor:
        """Draw z_L, ..., z_1, and return the last of them [*batch, L_1]."""
        z = pyro.sample(f"z{len(self.downward) + 1}", self.prior())
        for level in range(len(self.downward), 0, -1):
            z = pyro.sample(f"z{level}", self.downward[level - 1](z))
        return z


class BottomUpGuide(Recognition):
    """The guide q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_L-1).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        posterior: features -> q(z_1|x).
        upward: q(z_l+1 | z_l) for l = 1, ..., L-1.
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: nn.Module,
        upward: Sequence[Conditional],
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.posterior = posterior
        self.upward = nn.ModuleList(upward)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z_1, ..., z_L and returns the last of them."""
        with pyro.plate("data", self.begin(x)):
            z = pyro.sample("z1", self.encode(x))
            for level, conditional in enumerate(self.upward, 2):
                z = pyro.sample(f"z{level}", conditional(z))
            return z

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior q(z_1|x) of x [N, *event_shape]: batch shape [N], event shape [L_1]."""
        return self.posterior(self.features(x))


class HierarchicalVAE(ProgramPair):
    """L levels of Gaussian latents with a bottom-up guide; train it with "monte-carlo-kl".

    Args:
        event_shape: the shape of one datum.
        latent_dims: the dimensions of z_1, ..., z_L, from the data upwards.
        network: between x and z_1, as of VAE.
        hidden: the hidden layers of every network between two levels, or an architecture whose encoder it is.
        likelihood: as of VAE.
        posterior: the family of every conditional of the guide, by name: "diagonal", "full-covariance", ...
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a dimension below one, or parts that do not fit together.
    """

    kind = "hierarchical"
    model: HierarchicalProgram
    guide: BottomUpGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dims: Sequence[int] = (20, 10),
        network: Network = "mlp",
        hidden: Between = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: str | Mapping[str, object] = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        _, observed = self.observe(event_shape, likelihood)
        self.remember(hidden=between_config(hidden))
        self.latent_dims = checked_levels(latent_dims)
        if isinstance(posterior, nn.Module):
            raise ModelError(
                f"posterior: expected a name or a configuration, from which every level makes its own, got a "
                f"{type(posterior).__name__}"
            )
        self.infer(posterior)
        with seeded(seed):
            self._assemble(network, hidden, observed, posterior)

    def _assemble(
        self, network: Network, hidden: Between, likelihood: Likelihood, posterior: str | Mapping[str, object]
    ) -> None:
        dims = self.latent_dims
        encoder, decoder = self.networks(network, dims[0], likelihood)
        self.model = HierarchicalProgram(
            top_prior(dims[-1]), downward(dims, hidden), decoder, likelihood, self.event_shape
        )
        bottom = built(make_posterior(posterior), num_features(encoder, self.event_shape), dims[0])
        upward = [
            Conditional(between(hidden, low), make_posterior(posterior), low, high)
            for low, high in itertools.pairwise(dims)
        ]
        self.guide = BottomUpGuide(encoder, bottom, upward, self.event_shape, likelihood.allows_missing)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z_1|x) for data [N, *event_shape]: batch shape [N], event shape [L_1]."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x|z_1) for codes [*batch, L_1]: batch shape [*batch], event_shape as the data's."""
        return self.model.decode(checked_codes(self.to_own(z), self.latent_dims[0]))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z_1) at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x).mean).mean


def checked_levels(latent_dims: Sequence[int]) -> tuple[int, ...]:
    """The dimensions of z_1, ..., z_L.

    Raises:
        ModelError: there are none, or one is below 1.
    """
    if isinstance(latent_dims, str) or not isinstance(latent_dims, Sequence) or not latent_dims:
        raise ModelError(f"latent_dims must be the dimensions of z1, ..., zL such as (20, 10), got {latent_dims!r}")
    return tuple(checked_size("latent_dims", dim) for dim in latent_dims)


def checked_codes(z: Tensor, dim: int) -> Tensor:
    """Codes [*batch, L_1] of the level next to the data.

    Raises:
        ModelError: they have another size.
    """
    if z.dim() < 2 or z.shape[-1] != dim:
        raise ModelError(f"site 'z1': expected codes of shape [N, {dim}], got {list(z.shape)}")
    return z


def between(hidden: Between, from_dim: int) -> nn.Module:
    """The network from one level to the next: [B, from_dim] -> [B, H]."""
    if isinstance(hidden, str | Mapping | Architecture):
        return architecture(hidden).encoder((from_dim,))
    return MLP(tuple(hidden)).encoder((from_dim,))


def between_config(hidden: Between) -> Plain:
    """The configuration of those networks; None for an architecture of the user's own."""
    if isinstance(hidden, str | Mapping | Architecture):
        return architecture_config(architecture(hidden))
    return plain(hidden)


def top_prior(dim: int) -> StandardNormalPrior:
    """The top prior p(z_L) = N(0, I)."""
    prior = StandardNormalPrior()
    prior.build(dim)
    return prior


def downward(dims: tuple[int, ...], hidden: Between) -> list[Conditional]:
    """The conditionals p(z_l | z_l+1), diagonal Gaussians, for l = 1, ..., L-1."""
    return [
        Conditional(between(hidden, high), DiagonalPosterior(), high, low) for low, high in itertools.pairwise(dims)
    ]
