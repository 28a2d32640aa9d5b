r"""Frames: a datum is a sequence of them, and its last dimension but one is time.

    (T, D)       T frames of D coordinates
    (1, H, W)    an image of H rows: T = H frames of W pixels
    (C, H, W)    H frames of shape (C, W)

A frame that is missing from x, whole, is NaN in every coordinate; the frames after the end of a sequence that is
shorter than others are such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from ppl_vae.errors import ModelError


@dataclass(frozen=True)
class Frames:
    """The layout of the frames of a datum.

    Args:
        event_shape: (..., T, D), the shape of one datum.

    Raises:
        ModelError: it has less than two dimensions.
    """

    event_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.event_shape) < 2:
            raise ModelError(
                "event_shape must be that of a sequence: (T, D) for T frames of D coordinates, or (C, H, W) for an "
                f"image of H rows; got {self.event_shape}"
            )

    @property
    def number(self) -> int:
        """The number T of frames of a datum."""
        return self.event_shape[-2]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one frame."""
        return (*self.event_shape[:-2], self.event_shape[-1])

    def split(self, x: Tensor) -> Tensor:
        """Split x [*batch, *event_shape] into frames [*batch, T, *shape]."""
        return x.movedim(-2, -len(self.event_shape))

    def present(self, x: Tensor) -> Tensor:
        """Mark the frames of x [N, *event_shape] with at least one observed cell: boolean [N, T]."""
        return ~self.split(x).isnan().flatten(2).all(-1)


class FrameDecoder(nn.Module):
    """The emission network, frame by frame: z_1, ..., z_T to the features of x, for any T.

    Args:
        emission: [B, L] -> [B, P * prod(shape)] in any trailing shape.
        latent_dim: L.
        num_parameters: P, of the likelihood.
        shape: of one frame.
    """

    def __init__(self, emission: nn.Module, latent_dim: int, num_parameters: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.emission = emission
        self.latent_dim = latent_dim
        self.frame = (num_parameters, *shape)

    def forward(self, z: Tensor) -> Tensor:
        """Decode z [B, T * L] into features [B, P, ..., T, D], laid out as x is."""
        codes = z.reshape(-1, self.latent_dim)
        features = self.emission(codes)
        if features.numel() != len(codes) * math.prod(self.frame):
            raise ModelError(
                f"site 'x': the decoder gave {tuple(features.shape)} for codes {tuple(codes.shape)}, but the "
                f"likelihood needs {self.frame[0]} x {self.frame[1:]} per frame"
            )
        return features.reshape(len(z), -1, *self.frame).movedim(1, -2)
