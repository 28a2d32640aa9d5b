"""A datum that is a group: its first dimension counts the members, and every member has the same networks.

    (G, *shape)     G members of shape ``shape``, for instance (2, 1, 64, 64) for pairs of images

The weights are those of a VAE of one member, ``pair.member``, which takes single data wherever a VAE goes.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.errors import ModelError
from ppl_vae.kl import diagonal_loc_scale
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size
from ppl_vae.models.programs import GuideProgram, Recognition
from ppl_vae.models.vae import VAE


class MemberDecoder(nn.Module):
    """The decoder of every member, for a whole group.

    Args:
        decoder: [B, L] -> [B, P * prod(shape)] in any trailing shape.
        latent_dim: L, of a member's code.
        num_parameters: P, of the likelihood.
        shape: of one member.
    """

    def __init__(self, decoder: nn.Module, latent_dim: int, num_parameters: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.member = (num_parameters, *shape)

    def forward(self, z: Tensor) -> Tensor:
        """Decode codes [B, G * L] into features [B, P, G, *shape].

        Raises:
            ModelError: the decoder gives another number of features.
        """
        codes = z.reshape(-1, self.latent_dim)
        features = self.decoder(codes)
        if features.numel() != len(codes) * math.prod(self.member):
            raise ModelError(
                f"site 'x': the decoder gave {tuple(features.shape)} for codes {tuple(codes.shape)}, but the "
                f"likelihood needs {self.member[0]} x {self.member[1:]} per member"
            )
        return features.reshape(len(z), -1, *self.member).movedim(1, 2)


class MemberRecognition(Recognition):
    """The beginning of a group's guide: what the encoder of a member says of each, for itself.

    Args:
        member: the guide of one member, with a diagonal posterior.
        event_shape: (G, *shape), that of a group.
    """

    def __init__(self, member: GuideProgram, event_shape: tuple[int, ...]) -> None:
        super().__init__(member.encoder, event_shape, member.allows_missing)
        self.posterior = member.posterior

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the standard deviation of q(z|x_g) of groups x [N, G, *shape], any G: [N, G, L] each."""
        loc, scale = diagonal_loc_scale(self.posterior(self.features(x.flatten(0, 1))))
        return loc.unflatten(0, x.shape[:2]), scale.unflatten(0, x.shape[:2])


class GroupPair(ProgramPair):
    """The part that pairs of programs of groups share."""

    _member: tuple[VAE]

    @property
    def group_size(self) -> int:
        """The number G of members of a group."""
        return self.event_shape[0]

    @property
    def member(self) -> VAE:
        """The VAE of one member, with these weights: it takes single data [N, *shape]."""
        (vae,) = self._member
        # Its parts are this pair's and have their modes; three modules are its own.
        for module in (vae, vae.model, vae.guide):
            module.training = self.training
        return vae

    def observe_members(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        network: Network,
        likelihood: LikelihoodSpec,
        seed: int | None,
    ) -> tuple[VAE, MemberDecoder, Likelihood]:
        """Keep the shape of a group, and make the VAE of a member, its decoder for groups, and the likelihood.

        Raises:
            ModelError: an event shape that is no group's, an unknown name, a size below one, or parts that do not
                fit together.
        """
        shape, observed = self.observe(event_shape, likelihood)
        if len(shape) < 2:
            raise ModelError(
                f"event_shape must be that of a group, (G, *shape) such as (2, 1, 64, 64), got {shape}"
            )
        member = VAE(shape[1:], checked_size("latent_dim", latent_dim), network, observed, seed=seed)
        self.remember(network=member.config["network"])
        # In a tuple, so that nn.Module does not count its parameters twice.
        self._member = (member,)
        decoder = MemberDecoder(member.model.decoder, member.latent_dim, observed.num_parameters, shape[1:])
        return member, decoder, observed

    def start_untrained(self, x: Tensor) -> None:
        """As of every pair, of the members of groups x [N, G, *shape]."""
        self.member.start_untrained(x.flatten(0, 1))

    def group_codes(self, z: Array, latent_dim: int, site: str) -> Tensor:
        """Codes [*batch, G, L] as a tensor of the parameters' precision.

        Raises:
            ModelError: they have another shape.
        """
        codes = self.to_own(z)
        if codes.dim() < 3 or codes.shape[-2:] != (self.group_size, latent_dim):
            raise ModelError(
                f"site {site!r}: expected codes of shape [N, {self.group_size}, {latent_dim}], got "
                f"{list(codes.shape)}"
            )
        return codes
