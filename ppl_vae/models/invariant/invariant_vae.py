r"""A VAE of images whose pose is a latent of its own (Bepler et al. 2019): the code is what is left besides it.

    angle ~ von Mises(0, k),  shift ~ N(0, s^2 I_2),  log_scale ~ N(0, r^2),  z ~ N(0, I)
    x ~ p(x | warp(decoder(z); angle, shift, log_scale))
    guide: von Mises and Gaussians of the encoder's features, independent given x

What is warped are the decoder's features, which are logits or locations, so that any image decoder and likelihood
can stand behind it. With k = 0 the angle is uniform, and known up to where the decoder's own upright is.

Bepler, Zhong, Kelley, Brignole & Berger (2019): https://arxiv.org/abs/1909.11663
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import positive, real
from ppl_vae.declared import declared
from ppl_vae.distributions import VonMises
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.invariant.warp import warp
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.curved_posteriors import VonMisesPosterior
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.models.protocols import Posterior, refines
from ppl_vae.randomness import seeded

# The sites of a pose and the number of coordinates of each, in the order of the code [z, pose].
POSES: Mapping[str, int] = {"angle": 1, "shift": 2, "log_scale": 1}
SITE_OF: Mapping[str, str] = {"rotation": "angle", "translation": "shift", "scale": "log_scale"}
# The guide's starting standard deviation of shift and log scale, so that no image starts out of sight.
STARTING_LOG_VARIANCE = -4.0


class InvariantProgram(LatentVariableProgram):
    """The generative program of a code and a pose.

    Args:
        poses: by site, what its prior's two numbers are: the concentration of the angle, or a standard deviation.
        latent_dim: L.
        decoder, likelihood, event_shape: as of ``models.programs.ObservedProgram``.
    """

    def __init__(
        self,
        poses: Mapping[str, float],
        latent_dim: int,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.poses, self.latent_dim = dict(poses), latent_dim
        self.like: Tensor
        self.register_buffer("like", torch.zeros(latent_dim), persistent=False)

    def latents(self) -> Tensor:
        """Draw the pose and z: [*batch, L + pose]."""
        parts = {}
        for name, width in self.poses.items():
            zero = self.like.new_zeros(POSES[name])
            parts[name] = (
                pyro.sample(name, VonMises(zero, zero + width).to_event(1))
                if name == "angle"
                else pyro.sample(name, dist.Normal(zero, zero + width).to_event(1))
            )
        z = pyro.sample("z", dist.Normal(self.like, self.like + 1).to_event(1))
        return torch.cat([z, *parts.values()], -1)

    def _features(self, z: Tensor) -> Tensor:
        upright = super()._features(z[..., : self.latent_dim])
        given, at = {}, self.latent_dim
        for name in self.poses:
            given[name] = z[..., at : at + POSES[name]].reshape(-1, POSES[name])
            at += POSES[name]
        zero = z.new_zeros(z[..., 0].numel(), 2)
        angle, shift, log_scale = (given.get(name, zero[:, :size]) for name, size in POSES.items())
        images = upright.reshape(len(zero), -1, *self.event_shape[1:])
        return warp(images, angle[:, 0], shift, log_scale[:, 0]).reshape(upright.shape)


class InvariantGuide(Recognition):
    """The guide of a code and a pose.

    Args:
        posteriors: by site, features -> q.
        encoder, event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posteriors: Mapping[str, nn.Module],
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.posteriors = nn.ModuleDict(posteriors)

    def forward(self, x: Tensor) -> None:
        """Run the program: it draws the pose and z."""
        with pyro.plate("data", self.begin(x)):
            for name, q in self.encode(x).items():
                pyro.sample(name, q)

    def encode(self, x: Tensor) -> dict[str, dist.TorchDistribution]:
        """The posteriors of the sites, each of batch shape [N], for x [N, *event_shape]."""
        features = self.features(x)
        return {name: posterior(features) for name, posterior in self.posteriors.items()}


class InvariantVAE(ProgramPair):
    """A VAE whose code does not know how an image is turned, moved or scaled.

    Args:
        event_shape: the shape of one image, (channels, height, width).
        latent_dim: L, of the code besides the pose.
        transforms: which are latents: of "rotation", "translation", "scale".
        network, likelihood, posterior: as of VAE; the posterior is that of z.
        angle_concentration: k of the angle's prior; 0 is uniform.
        shift_scale: s, in halves of the shorter side.
        zoom_scale: r.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: no image, an unknown name, a number out of its range, or parts that do not fit together.
    """

    kind = "invariant"
    model: InvariantProgram
    guide: InvariantGuide
    latent_dim: int

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int = 8,
        transforms: Sequence[str] = ("rotation", "translation", "scale"),
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: Spec = "diagonal",
        angle_concentration: float = 0.0,
        shift_scale: float = 0.2,
        zoom_scale: float = 0.2,
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        if len(shape) != 3:
            raise ModelError(f"event_shape must be (channels, height, width) of an image, got {shape}")
        self.latent_dim = checked_size("latent_dim", latent_dim)
        spreads = {
            "angle": real("angle_concentration", angle_concentration, 0.0),
            "shift": positive("shift_scale", shift_scale),
            "log_scale": positive("zoom_scale", zoom_scale),
        }
        chosen = {site: spreads[site] for site in checked_transforms(transforms)}
        family = self.infer(posterior)
        if refines(family):
            raise ModelError(
                f"posterior {declared(Posterior, family).name!r} is moved by a model of one code alone"
            )
        with seeded(seed):
            encoder, decoder = self.networks(network, self.latent_dim, observed)
            posteriors = {name: _pose_posterior(name) for name in chosen} | {"z": family}
            features = num_features(encoder, shape)
            for name, part in posteriors.items():
                declared(Posterior, part).build(features, POSES.get(name, self.latent_dim))
            _start_small(posteriors)
            self.model = InvariantProgram(chosen, self.latent_dim, decoder, observed, shape)
            self.guide = InvariantGuide(encoder, posteriors, shape, observed.allows_missing)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z|x) of the code without the pose: batch shape [N], event shape [L]."""
        return self.guide.encode(self.own_data(x))["z"]

    @on_request
    def pose(self, x: Array) -> dict[str, dist.TorchDistribution]:
        """The posteriors of the pose by site: "angle" in radians, "shift" [2], "log_scale"."""
        found = self.guide.encode(self.own_data(x))
        return {name: q for name, q in found.items() if name != "z"}

    @on_request
    def codes(self, x: Array) -> Tensor:
        """The guide's means of z and then the pose: [N, L + pose]."""
        found = self.guide.encode(self.own_data(x))
        return torch.cat([found["z"].mean, *(found[name].mean for name in self.model.poses)], -1)

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x | z, pose) of codes [*batch, L + pose]: batch shape [*batch]."""
        codes = self.to_own(z)
        size = self.latent_dim + sum(POSES[name] for name in self.model.poses)
        if codes.dim() < 2 or codes.shape[-1] != size:
            raise ModelError(f"expected codes and poses of shape [N, {size}], got {list(codes.shape)}")
        return self.model.decode(codes)

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x | z, pose) at the guide's means: [N, *event_shape]."""
        return self.decode(self.codes(x)).mean


def checked_transforms(transforms: Sequence[str]) -> list[str]:
    """The sites of a pose, in the order of a code.

    Raises:
        ModelError: there are none, or one is unknown.
    """
    if isinstance(transforms, str) or not transforms:
        raise ModelError(f"transforms must be some of {', '.join(SITE_OF)}, got {transforms!r}")
    for name in transforms:
        if name not in SITE_OF:
            raise ModelError(unknown_name("transform", name, SITE_OF))
    return [site for name, site in SITE_OF.items() if name in transforms]


def _pose_posterior(site: str) -> nn.Module:
    return VonMisesPosterior() if site == "angle" else DiagonalPosterior()


def _start_small(posteriors: Mapping[str, nn.Module]) -> None:
    for name, part in posteriors.items():
        if name in ("shift", "log_scale") and isinstance(part, DiagonalPosterior):
            nn.init.constant_(part.scale_head.bias, STARTING_LOG_VARIANCE)
