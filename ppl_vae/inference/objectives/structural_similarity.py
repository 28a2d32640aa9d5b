r"""Multi-scale structural similarity of images (Wang, Simoncelli & Bovik 2003), an error for reconstructions.

    SSIM = l cs,   l = (2 m_x m_y + c1) / (m_x^2 + m_y^2 + c1),   cs = (2 s_xy + c2) / (s_x^2 + s_y^2 + c2)

with means, variances and the covariance of two images under a Gaussian window, c1 = 0.01^2 and c2 = 0.03^2 for
pixels in [0, 1]. At every further scale both images are averaged over 2x2 pixels:

    MS-SSIM = mean(SSIM at the last scale)^w_M  prod_{j < M} mean(cs at scale j)^w_j

It is the logarithm of no density and part of no bound.

Wang, Simoncelli & Bovik (2003), eq. 7: https://doi.org/10.1109/ACSSC.2003.1292216
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from ppl_vae.errors import ModelError

# Of the five scales in the paper; of fewer scales the first ones, made to add up to 1.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
LARGEST_WINDOW, WIDTH = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def window_and_scales(height: int, width: int) -> tuple[int, int]:
    """The window's size, 11 or the largest odd one that fits, and how many scales it fits into, at most 5."""
    side = min(height, width)
    window = min(LARGEST_WINDOW, side - (side + 1) % 2)
    scales = 1
    while scales < len(WEIGHTS) and side >> scales >= window:
        scales += 1
    return window, scales


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """The similarity of images in [0, 1], each channel for itself and then the mean: [n].

    Args:
        x: [n, C, H, W].
        y: of the same shape.

    Raises:
        ModelError: they are no images [n, C, H, W] of the same shape.
    """
    if x.dim() != 4 or x.shape != y.shape:
        raise ModelError(f"ms-ssim compares images [N, C, H, W], got {list(x.shape)} and {list(y.shape)}")
    channels = x.shape[1]
    window, scales = window_and_scales(*x.shape[-2:])
    kernel = _gaussian(window, x)
    weights = [w / sum(WEIGHTS[:scales]) for w in WEIGHTS[:scales]]
    x, y = (images.flatten(0, 1).unsqueeze(1) for images in (x, y))
    similarity = torch.ones_like(x[:, 0, 0, 0])
    for scale, weight in enumerate(weights):
        luminance, contrast = _ssim_parts(x, y, kernel)
        of_scale = (luminance * contrast if scale == scales - 1 else contrast).mean((1, 2, 3))
        # A negative similarity has no power; the floor keeps its derivative finite.
        similarity = similarity * of_scale.clamp_min(1e-6).pow(weight)
        if scale < scales - 1:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    return similarity.unflatten(0, (-1, channels)).mean(1)


def _gaussian(size: int, like: Tensor) -> Tensor:
    at = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    line = torch.exp(-0.5 * (at / WIDTH).square())
    line = line / line.sum()
    return torch.outer(line, line)[None, None]


def _ssim_parts(x: Tensor, y: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """l and cs at every place that the window fits into: [n, 1, h, w] each."""
    mean_x, mean_y = conv2d(x, kernel), conv2d(y, kernel)
    var_x, var_y = conv2d(x * x, kernel) - mean_x.square(), conv2d(y * y, kernel) - mean_y.square()
    covariance = conv2d(x * y, kernel) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    return luminance, (2 * covariance + C2) / (var_x + var_y + C2)
