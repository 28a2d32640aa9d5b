"""Noise that an encoder sees x through while it trains: x itself in evaluation mode, as dropout does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ppl_vae.checks import real
from ppl_vae.errors import ModelError, unknown_name


class MaskingNoise(nn.Module):
    """Set a share of the coordinates to 0 (Vincent et al. 2008).

    Vincent, Larochelle, Bengio & Manzagol (2008): https://doi.org/10.1145/1390156.1390294
    """

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = _share(level)

    def forward(self, x: Tensor) -> Tensor:
        """Corrupt x [B, *event_shape] in training mode."""
        return torch.where(torch.rand_like(x) < self.level, 0.0, x) if self.training else x


class SaltAndPepperNoise(nn.Module):
    """Set a share of the coordinates to 0 or 1, with equal chances (Vincent et al. 2010)."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = _share(level)

    def forward(self, x: Tensor) -> Tensor:
        """Corrupt x [B, *event_shape] in training mode."""
        if not self.training:
            return x
        extreme = (torch.rand_like(x) < 0.5).to(x)
        return torch.where(torch.rand_like(x) < self.level, extreme, x)


class GaussianNoise(nn.Module):
    """Add Gaussian noise of one standard deviation (Vincent et al. 2010)."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = real("level", level, least=0)

    def forward(self, x: Tensor) -> Tensor:
        """Corrupt x [B, *event_shape] in training mode."""
        return x + self.level * torch.randn_like(x) if self.training else x


CORRUPTIONS: Mapping[str, Callable[[float], nn.Module]] = {
    "masking": MaskingNoise,
    "salt-and-pepper": SaltAndPepperNoise,
    "gaussian": GaussianNoise,
}


def corruption(noise: str, level: float) -> nn.Module:
    """The noise of that name.

    Args:
        noise: "masking", "salt-and-pepper" or "gaussian".
        level: the share of corrupted coordinates, or the standard deviation of the Gaussian noise.

    Raises:
        ModelError: the name is unknown, or the level is out of its range.
    """
    if noise not in CORRUPTIONS:
        raise ModelError(unknown_name("noise", noise, CORRUPTIONS))
    return CORRUPTIONS[noise](level)


def _share(level: float) -> float:
    share = real("level", level, least=0)
    if share > 1:
        raise ModelError(f"level must be a share between 0 and 1, got {level!r}")
    return share
