r"""Rotation, translation and scaling of images, differentiable in all three.

The picture at p is the given one at q = R(-angle) (p - shift) / scale, in coordinates with the origin in the middle
and y upwards, so that a positive angle turns the picture against the clock. Between pixels values are bilinear;
beyond the edge they are those of the edge.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def warp(images: Tensor, angle: Tensor, shift: Tensor, log_scale: Tensor) -> Tensor:
    """Turn, move and scale images.

    Args:
        images: [B, C, H, W].
        angle: in radians, [B].
        shift: to the right and upwards, in halves of the shorter side, [B, 2].
        log_scale: the logarithm of the factor by which the picture grows, [B].

    >>> image = torch.arange(9.0).reshape(1, 1, 3, 3)
    >>> turned = warp(image, torch.tensor([torch.pi / 2]), torch.zeros(1, 2), torch.zeros(1))
    >>> torch.allclose(turned, image.rot90(1, (2, 3)), atol=1e-5)
    True
    """
    height, width = images.shape[-2:]
    shorter = min(height, width)
    cosine, sine, shrink = angle.cos(), angle.sin(), (-log_scale).exp()
    # torch's coordinates go to 1 at either edge, and its y downwards: R(-angle) with y mirrored.
    rows = torch.stack([cosine, -sine * height / width, sine * width / height, cosine], -1).unflatten(-1, (2, 2))
    linear = rows * shrink[:, None, None]
    moved = torch.stack([shift[:, 0] * shorter / width, -shift[:, 1] * shorter / height], -1)
    theta = torch.cat([linear, -(linear @ moved.unsqueeze(-1))], -1)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
