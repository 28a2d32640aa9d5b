r"""Gaussian processes over the frames of a sequence: the prior of every latent channel, and a banded guide's head.

    z_l(1), ..., z_l(T) ~ N(0, K_l),   K_l[s, t] = k((s - t) / ell_l) + nugget (s = t),   ell_l learned

    "cauchy"        k(d) = 1 / (1 + d^2)           what the paper takes, with memory over many lengths
    "rbf"           k(d) = exp(-d^2 / 2)           smooth
    "exponential"   k(d) = exp(-|d|)               a Markov chain

The head of the guide gives every channel N(m_l, (B_l' B_l)^-1) with B_l lower bidiagonal (Fortuin et al. 2020,
section 3.2; Bamler & Mandt 2017): a precision that is tridiagonal, so that neighbours in time are correlated a
posteriori at 2 T numbers a channel. Codes are vectors [L * T], channel after channel.

Fortuin, Baranchuk, Raetsch & Mandt (2020): https://arxiv.org/abs/1907.04155
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import positive
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.precision import scale, widened

# A part of the model: the noise of a channel by itself, which keeps K invertible in single precision.
NUGGET = 1e-3

KERNELS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "cauchy": lambda d: 1 / (1 + d.square()),
    "rbf": lambda d: (-0.5 * d.square()).exp(),
    "exponential": lambda d: (-d.abs()).exp(),
}


class GaussianProcessPrior(nn.Module):
    """The prior p(z) of L independent channels over T frames; event shape [L * T].

    Args:
        num_frames: T.
        num_channels: L.
        kernel: "cauchy", "rbf" or "exponential".
        length_scale: in frames, of every channel at the start.

    Raises:
        ModelError: the kernel is unknown, or the length is not positive.
    """

    def __init__(
        self, num_frames: int, num_channels: int, kernel: str = "cauchy", length_scale: float = 3.0
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise ModelError(unknown_name("kernel", kernel, KERNELS))
        self.kernel, self.num_frames = kernel, num_frames
        start = math.log(positive("length_scale", length_scale))
        self.log_length = nn.Parameter(torch.full((num_channels,), start))

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [L * T]."""
        tril = torch.linalg.cholesky(self.covariance(self.num_frames))
        return dist.MultivariateNormal(
            tril.new_zeros(tril.shape[0] * tril.shape[1]), scale_tril=diagonal_blocks(tril)
        )

    def covariance(self, num_frames: int) -> Tensor:
        """The covariance of each channel over so many frames: [L, T, T]."""
        log_length = widened(self.log_length)
        time = torch.arange(num_frames, dtype=log_length.dtype, device=log_length.device)
        apart = (time[:, None] - time) / scale(log_length)[:, None, None]
        return KERNELS[self.kernel](apart) + NUGGET * torch.eye(num_frames, dtype=time.dtype, device=time.device)

    def continued(self, z: Tensor, num_frames: int) -> Tensor:
        """Draw the frames after codes [*batch, L, T], given them: [*batch, L, num_frames]."""
        seen = z.shape[-1]
        whole = self.covariance(seen + num_frames)
        tril = torch.linalg.cholesky(whole)
        # Of a Cholesky factor in time's order the last rows are the conditional given what comes before.
        noise = torch.linalg.solve_triangular(tril[:, :seen, :seen], z.unsqueeze(-1), upper=False)
        mean = (tril[:, seen:, :seen] @ noise).squeeze(-1)
        own = torch.randn_like(mean).unsqueeze(-1)
        return mean + (tril[:, seen:, seen:] @ own).squeeze(-1)


class BandedHead(nn.Module):
    """The family q(z|x) of a Gaussian for every channel, whose precision is tridiagonal over time.

    Args:
        num_features: F, of every frame.
        num_frames: T.
        num_channels: L.
    """

    name = "banded"

    def __init__(self, num_features: int, num_frames: int, num_channels: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.head = nn.Linear(num_features, 3 * num_channels)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, T * F]: batch shape [*batch], event shape [L * T]."""
        parts = widened(self.head(features.unflatten(-1, (self.num_frames, -1)))).mT
        loc, log_diagonal, below = parts.unflatten(-2, (3, -1)).unbind(-3)
        band = torch.diag_embed(scale(log_diagonal)) + torch.diag_embed(below[..., 1:], -1)
        one = torch.eye(self.num_frames, dtype=band.dtype, device=band.device)
        tril = torch.linalg.solve_triangular(band, one.expand_as(band), upper=False)
        return dist.MultivariateNormal(loc.flatten(-2), scale_tril=diagonal_blocks(tril))


def diagonal_blocks(blocks: Tensor) -> Tensor:
    """The matrix [*batch, L * T, L * T] with blocks [*batch, L, T, T] on its diagonal."""
    number = blocks.shape[-3]
    own = torch.eye(number, dtype=blocks.dtype, device=blocks.device)
    return (blocks.unsqueeze(-2) * own[:, None, :, None]).flatten(-4, -3).flatten(-2)
