r"""The adaptive group VAE of pairs that share some factors, nobody knows which (Locatello et al. 2020, "Ada-GVAE").

    model:  z_1, z_2 ~ N(0, I),   x_g ~ p(x | decoder(z_g))                        g = 1, 2
    guide:  q(z_g|x_g) = N(m_g, diag s_g^2) of one encoder, for each alone
            d_u = KL(q(z_1u|x_1) || q(z_2u|x_2)),   t = (max_u d_u + min_u d_u) / 2
            z_gu ~ N((m_1u + m_2u) / 2, (s_1u^2 + s_2u^2) / 2)   where d_u < t: dimension u is shared
            z_gu ~ N(m_gu, s_gu^2)                               else: it changed

A code that moves little between the two images is taken for that of a shared factor, and has to do for both. The
ELBO is a bound of log p(x_1) + log p(x_2); which dimensions are shared depends on both images, but no gradient goes
through the choice. The site is "z", [2, L].

Locatello, Poole, Raetsch, Schoelkopf, Bachem & Tschannen (2020): https://arxiv.org/abs/2002.02886
"""

from __future__ import annotations

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.errors import ModelError
from ppl_vae.kl import coordinate_kl
from ppl_vae.models.configuration import remembers
from ppl_vae.models.groups.group_pair import GroupPair, MemberDecoder, MemberRecognition
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import Network, on_request
from ppl_vae.models.programs import LatentVariableProgram


class PairProgram(LatentVariableProgram):
    """The program p(z_1) p(z_2) p(x_1|z_1) p(x_2|z_2).

    Args:
        prior: forward gives p(z_g).
        decoder: [B, 2 * L] -> features [B, P, 2, *shape].
        likelihood: features -> p(x_1, x_2|z_1, z_2), independent over the two.
        event_shape: (2, *shape).
    """

    def __init__(
        self, prior: nn.Module, decoder: MemberDecoder, likelihood: Likelihood, event_shape: tuple[int, ...]
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.prior = prior

    def latents(self) -> Tensor:
        """Draw z_1 and z_2, and give them side by side: [*batch, 2 * L]."""
        z: Tensor = pyro.sample("z", self.prior().expand((self.event_shape[0],)).to_event(1))
        return z.flatten(-2)


class AdaptiveGuide(MemberRecognition):
    """The guide q(z_1, z_2|x_1, x_2), which averages what the two agree on; its arguments are the base's."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z [N, 2, L]."""
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior of pairs x [N, 2, *shape]: batch shape [N], event shape [2, L]."""
        loc, scale = self.moments(x)
        shared = shared_dimensions(loc, scale).unsqueeze(-2)
        # The mean of squares, of scales that are at most exp(20).
        together = loc.mean(-2, keepdim=True), scale.square().mean(-2, keepdim=True).sqrt()
        loc, scale = (torch.where(shared, mean, own) for mean, own in zip(together, (loc, scale), strict=True))
        return dist.Normal(loc, scale).to_event(2)


@torch.no_grad()
def shared_dimensions(loc: Tensor, scale: Tensor) -> Tensor:
    """Tell which dimensions two diagonal Gaussians, moments [*batch, 2, L] each, agree on: bool [*batch, L].

    Those whose divergence is below the middle between the largest and the smallest (Locatello et al. 2020,
    section 4). One at least has changed, and of several unequal ones one at least is shared.
    """
    first, second = (dist.Normal(loc[..., g, :], scale[..., g, :]) for g in (0, 1))
    divergence = coordinate_kl(first, second)
    threshold = 0.5 * divergence.amax(-1, keepdim=True) + 0.5 * divergence.amin(-1, keepdim=True)
    return divergence < threshold


class AdaGroupVAE(GroupPair):
    """A VAE of pairs that share some factors, with the encoder and the decoder of one image.

    Args:
        event_shape: (2, *shape), that of a pair.
        latent_dim: L, of each image.
        network: between one image and its code, as of VAE.
        likelihood: as of VAE.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an event shape that is no pair's, an unknown name, a size below one, or parts that do not fit
            together.
    """

    kind = "ada-group"
    model: PairProgram
    guide: AdaptiveGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int = 10,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        member, decoder, observed = self.observe_members(event_shape, latent_dim, network, likelihood, seed)
        if self.group_size != 2:
            raise ModelError(
                f"event_shape must be that of a pair, (2, *shape) such as (2, 1, 64, 64), got {self.event_shape}; "
                "ppl_vae.data.factor_groups makes pairs"
            )
        self.model = PairProgram(member.model.prior, decoder, observed, self.event_shape)
        self.guide = AdaptiveGuide(member.guide, self.event_shape)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior of pairs [N, 2, *shape]: batch shape [N], event shape [2, L]; ``member`` has one's."""
        return self.guide.encode(self.own_data(x))

    @torch.no_grad()
    def shared(self, x: Array) -> Tensor:
        """Tell which dimensions of the code each pair [N, 2, *shape] is taken to share: bool [N, L]."""
        return shared_dimensions(*self.guide.moments(self.own_data(x)))

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood of codes [*batch, 2, L]: batch shape [*batch], event shape (2, *shape)."""
        return self.model.decode(self.group_codes(z, self.member.latent_dim, "z").flatten(-2))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the guide's mean: [N, 2, *shape]."""
        return self.decode(self.encode(x).mean).mean
