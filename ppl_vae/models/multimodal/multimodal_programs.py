r"""The programs of a multimodal VAE: one latent, one observed site per modality, guides for whatever is there.

    model:  z ~ N(0, I),   x_m ~ p(x_m | decoder_m(z_shared, z_m))      m = 1, ..., M
    guide:  z ~ a fusion of the experts q(z|x_m) of the modalities that are there; or q(z|x) of a network of its own
            for complete data, and a conditional flow for others

z is (z_shared, z_1, ..., z_M); the private parts z_m may be empty. A decoder reads what is shared and its own part.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.kl import diagonal_loc_scale
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.multimodal.fusion import Fusion
from ppl_vae.models.multimodal.joint_and_conditional import JointOrConditional
from ppl_vae.models.multimodal.modalities import Modalities
from ppl_vae.models.programs import LatentVariableProgram, Recognition
from ppl_vae.models.protocols import Encoder
from ppl_vae.precision import scale as positive
from ppl_vae.precision import widened


class ModalityDecoders(nn.Module):
    """The decoders of all modalities as one: [B, shared + M private] -> [B, P, *event_shape].

    Args:
        decoders: by modality, [B, shared + private] -> [B, P * prod(shape)] in any trailing shape.
        modalities: how a datum is cut.
        num_parameters: P.
        private_dim: of each modality's own part of the code.
    """

    def __init__(
        self, decoders: Sequence[nn.Module], modalities: Modalities, num_parameters: int, private_dim: int
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(decoders)
        self.modalities = modalities
        self.num_parameters = num_parameters
        self.private_dim = private_dim

    def forward(self, z: Tensor) -> Tensor:
        """The features of whole data."""
        private = len(self.parts) * self.private_dim
        shared, *own = z.split([z.shape[-1] - private, *[self.private_dim] * len(self.parts)], -1)
        features = [
            decoder(torch.cat([shared, part], -1)).reshape(len(z), self.num_parameters, *shape)
            for decoder, part, shape in zip(self.parts, own, self.modalities.shapes.values(), strict=True)
        ]
        return torch.cat(features, self.modalities.axis)


class MultimodalProgram(LatentVariableProgram):
    """The program p(z) prod_m p(x_m|z), with one observed site for each modality.

    Args:
        latent_dim: of z as a whole.
        decoder: of all modalities.
        likelihood: features [*batch, P, *shape] -> p(x_m|z), in which NaN is missing.
        modalities: how a datum is cut.
    """

    zeros: Tensor

    def __init__(
        self, latent_dim: int, decoder: ModalityDecoders, likelihood: Likelihood, modalities: Modalities
    ) -> None:
        super().__init__(decoder, likelihood, modalities.event_shape)
        self.modalities = modalities
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    def latents(self) -> Tensor:
        """Draw z ~ N(0, I): [*batch, latent_dim]."""
        zeros = widened(self.zeros)
        return pyro.sample("z", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))

    def observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        """Observe, or draw, every modality at its own site; whole data [*batch, *event_shape]."""
        event_dim = len(self.event_shape)
        features = self.modalities.split(self._features(z))
        given = {} if x is None else self.modalities.split(widened(x))
        drawn = []
        for name, part in features.items():
            if name not in given:
                drawn.append(pyro.sample(name, self.likelihood(part, event_dim)))
                continue
            p = self.likelihood.adapt(part, given[name], event_dim)
            drawn.append(pyro.sample(name, p, obs=given[name]))
        return torch.cat(drawn, self.modalities.axis)


class ModalityEncoders(nn.Module):
    """An encoder for each modality, and which modalities are there.

    Args:
        encoders: by modality, [B, *shape] -> features [B, H_m].
        modalities: how a datum is cut.
    """

    def __init__(self, encoders: Sequence[nn.Module], modalities: Modalities) -> None:
        super().__init__()
        self.parts = nn.ModuleList(encoders)
        self.modalities = modalities

    def forward(self, x: Tensor) -> list[Tensor]:
        """The features of every modality of x [N, *event_shape]; of a missing one those of zeros."""
        return [
            encoder(part if declared(Encoder, encoder).takes_missing else part.nan_to_num())
            for encoder, part in zip(self.parts, self.modalities.split(x).values(), strict=True)
        ]


class ExpertsGuide(Recognition):
    """The guide that fuses Gaussian experts q(z|x_m).

    Args:
        encoder: of all modalities.
        heads: by modality, features -> a diagonal Gaussian over (z_shared, z_m).
        fuse: of ``fusion``.
        private_dim: of z_m; where it is not 0, an expert has a learned width for the private parts of the others.
    """

    def __init__(
        self, encoder: ModalityEncoders, heads: Sequence[nn.Module], fuse: Fusion, private_dim: int
    ) -> None:
        super().__init__(encoder, encoder.modalities.event_shape, allows_missing=True)
        self.modalities = encoder.modalities
        self.heads = nn.ModuleList(heads)
        self.fuse = fuse
        self.private_dim = private_dim
        if private_dim:
            self.other_scale = nn.Parameter(torch.zeros(len(self.heads), private_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z [N, latent_dim] given the modalities of x that are there."""
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, *event_shape], in which NaN is missing: batch shape [N]."""
        loc, scale = self.experts(x)
        return self.fuse(loc, scale, self.modalities.present(x))

    def experts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z|x_m) for every modality: [N, M, latent_dim] each."""
        features = self.encoder(x)
        gaussians = [head(own) for head, own in zip(self.heads, features, strict=True)]
        parts = [self._whole(m, *diagonal_loc_scale(q)) for m, q in enumerate(gaussians)]
        loc, scale = (torch.stack(part, 1) for part in zip(*parts, strict=True))
        return loc, scale

    def _whole(self, m: int, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The expert of modality m over all of z: others' private parts have mean 0 and a learned width."""
        if not self.private_dim:
            return loc, scale
        shared = loc.shape[-1] - self.private_dim
        widths = positive(widened(self.other_scale)).expand(len(loc), -1, -1)
        locs, scales = [loc[:, :shared]], [scale[:, :shared]]
        for other in range(len(self.heads)):
            locs.append(loc[:, shared:] if other == m else torch.zeros_like(loc[:, shared:]))
            scales.append(scale[:, shared:] if other == m else widths[:, other])
        return torch.cat(locs, -1), torch.cat(scales, -1)


class JointFlowGuide(Recognition):
    """The guide q(z|x) of a network of its own for complete data, and q(z|x_A) of a conditional flow for others.

    Args:
        encoder: of whole data [N, *event_shape] -> features [N, H].
        joint: features -> q(z|x).
        single: the encoders of the modalities, whose features the flow sees.
        conditional: features and what is there [N, sum H_m + M] -> q(z|x_A).
    """

    def __init__(
        self, encoder: nn.Module, joint: nn.Module, single: ModalityEncoders, conditional: nn.Module
    ) -> None:
        super().__init__(encoder, single.modalities.event_shape, allows_missing=True)
        self.joint = joint
        self.single = single
        self.conditional = conditional

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z [N, latent_dim] given the modalities of x that are there."""
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, *event_shape], in which NaN is missing: batch shape [N]."""
        present = self.single.modalities.present(x)
        joint = self.joint(self.features(x))
        return JointOrConditional(present.all(1), joint, self.conditional(self.partial_features(x, present)))

    def partial_features(self, x: Tensor, present: Tensor) -> Tensor:
        """The features of the modalities that are there, 0 for the others, and which are: [N, sum H_m + M]."""
        shown = [
            torch.where(present[:, m : m + 1], own, torch.zeros_like(own)) for m, own in enumerate(self.single(x))
        ]
        return torch.cat([*shown, present.to(shown[0].dtype)], 1)


def num_features(encoders: ModalityEncoders) -> list[int]:
    """The number of features of every modality's encoder, by a dry run on zeros."""
    like = next(encoders.parameters(), torch.empty(0))
    with torch.no_grad():
        zeros = torch.zeros(2, *encoders.modalities.event_shape, dtype=like.dtype, device=like.device)
        return [features.shape[1] for features in encoders(zeros)]
