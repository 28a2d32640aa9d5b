"""The blocks of a very deep VAE: residual layers of images, and a level of the top-down path (Child 2021, fig. 3).

Child (2021): https://arxiv.org/abs/2011.10650
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ppl_vae.precision import scale, widened


class ResidualBlock(nn.Module):
    """Two convolutions with a bottleneck, added to what comes in: [B, W, r, r] -> the same.

    Args:
        width: W.
        depth: the number of blocks in the path, by whose root the last layer starts smaller.
        kernel: 3, or 1 for images of one pixel.
    """

    def __init__(self, width: int, depth: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(width, width, kernel, padding=kernel // 2),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
        )
        last = self.layers[-1]
        if isinstance(last, nn.Conv2d):
            with torch.no_grad():
                last.weight.mul_(1 / math.sqrt(depth))

    def forward(self, h: Tensor) -> Tensor:
        """The features after the block."""
        out: Tensor = h + self.layers(h)
        return out


class GaussianOfFeatures(nn.Module):
    """A diagonal Gaussian over images of a few channels, of features: [B, F, r, r] -> event shape [Z, r, r].

    Args:
        features: F.
        channels: Z.
    """

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(features, 2 * channels, 1)
        with torch.no_grad():
            # Near N(0, 1) at first: the divergences of many levels add up.
            last.weight.mul_(0.1)
        self.head = nn.Sequential(nn.GELU(), last)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The Gaussian of features [*batch, F, r, r]: batch shape [*batch]."""
        raw = widened(self.head(features.flatten(0, -4))).unflatten(0, features.shape[:-3])
        loc, log_scale = raw.chunk(2, -3)
        return dist.Normal(loc, scale(log_scale)).to_event(3)


class TopDownLevel(nn.Module):
    """One level of the top-down path: the prior of its latent, and what the latent does to the state.

    Args:
        width: W, the channels of the state.
        channels: Z, of the latent.
        resolution: r.
        depth: the number of levels.
    """

    def __init__(self, width: int, channels: int, resolution: int, depth: int) -> None:
        super().__init__()
        kernel = 3 if resolution > 2 else 1
        self.resolution = resolution
        self.before = ResidualBlock(width, depth, kernel)
        self.prior = GaussianOfFeatures(width, channels)
        self.enter = nn.Conv2d(channels, width, 1)
        with torch.no_grad():
            self.enter.weight.mul_(1 / math.sqrt(depth))
        self.after = ResidualBlock(width, depth, kernel)

    def raised(self, h: Tensor) -> Tensor:
        """The state [*batch, W, r', r'] of the level above at this level's resolution, through its first block."""
        flat = h.flatten(0, -4)
        if flat.shape[-1] != self.resolution:
            flat = interpolate(flat, size=(self.resolution, self.resolution), mode="nearest")
        return self.before(flat).unflatten(0, h.shape[:-3])

    def entered(self, h: Tensor, z: Tensor) -> Tensor:
        """The state after the latent z [*batch, Z, r, r] has entered it."""
        shape = torch.broadcast_shapes(h.shape[:-3], z.shape[:-3])
        added = self.enter(z.flatten(0, -4)).unflatten(0, z.shape[:-3])
        state = (h + added).expand(*shape, *h.shape[-3:])
        return self.after(state.flatten(0, -4)).unflatten(0, shape)


class BottomUp(nn.Module):
    """The bottom-up path: what x says at every resolution, [B, C, S, S] -> {r: [B, W, r, r]}.

    Args:
        channels: C of the data.
        width: W.
        resolutions: from the data's downwards.
    """

    def __init__(self, channels: int, width: int, resolutions: tuple[int, ...]) -> None:
        super().__init__()
        self.resolutions = resolutions
        self.start = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, len(resolutions), 3 if r > 2 else 1) for r in resolutions)

    def forward(self, x: Tensor) -> Tensor:
        """All features in one row [B, sum W r r], the finest first; ``parts`` takes them apart."""
        h, found = self.start(x), []
        for resolution, block in zip(self.resolutions, self.blocks, strict=True):
            if h.shape[-1] != resolution:
                h = adaptive_avg_pool2d(h, resolution)
            h = block(h)
            found.append(h.flatten(1))
        return torch.cat(found, 1)

    def parts(self, features: Tensor) -> dict[int, Tensor]:
        """The features of every resolution, [B, W, r, r]."""
        total = sum(r * r for r in self.resolutions)
        width = features.shape[1] // total
        split = features.split([width * r * r for r in self.resolutions], 1)
        return {r: part.unflatten(1, (width, r, r)) for r, part in zip(self.resolutions, split, strict=True)}


def resolutions_of(side: int) -> tuple[int, ...]:
    """The resolutions of a path over images of this side: halved while it is even and above 2, and then 1.

    >>> resolutions_of(8), resolutions_of(28)
    ((8, 4, 2, 1), (28, 14, 7, 1))
    """
    found = [side]
    while found[-1] % 2 == 0 and found[-1] > 2:
        found.append(found[-1] // 2)
    return (*found, 1) if found[-1] != 1 else tuple(found)
