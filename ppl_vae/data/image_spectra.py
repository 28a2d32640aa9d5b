r"""Images of a unit cell and the spectra measured there, drawn here from a law that is known.

They stand for scanning microscopy, where every point has an image of its surroundings and a spectrum. An image
shows four atoms at the corners of a cell and a fifth near its middle, displaced by d = (d_1, d_2), uniform over the
square [-1, 1]^2, with Gaussian noise. The spectrum x over 24 channels e in [0, 1] is

    x = a g(d, b) + noise of standard deviation 0.05,   a ~ N(1, 0.25^2),   b = -1 or 1 with probability 1/2
    g(d, b)(e) = peak(e; 0.35 + 0.15 d_1, 0.05) + (0.6 + 0.4 d_2) peak(e; 0.75 + 0.1 b, 0.04)

with peak(e; c, w) = exp(-(e - c)^2 / (2 w^2)). The displacement moves the first peak and scales the second; the
strength a and the side b of the second peak are not in the image. So log p(x|d) is a mixture of two Gaussians
(``spectrum_law``), and in expectation no model's log p(x|image) can pass it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, LowRankMultivariateNormal, MixtureSameFamily

from ppl_vae.checks import require_memory
from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.split import SPLIT_NOTE, split_in_two
from ppl_vae.errors import DataError

SIDE, NUM_CHANNELS = 12, 24
FACTOR_NAMES = ("d1", "d2", "side", "strength")
IMAGE_NOISE, SPECTRUM_NOISE, STRENGTH_SPREAD = 0.03, 0.05, 0.25
_CORNER, _REACH, _CORNER_WIDTH, _MIDDLE_WIDTH = 0.75, 0.35, 0.2, 0.3
_DEFAULT_N = 2000


def load_image_spectra(n: int | None = None, *, seed: int = 0) -> Dataset:
    """Draw a data set of images and spectra.

    Args:
        n: how many; 2000 by default.
        seed: of the draws; the split does not depend on it.

    Returns:
        A Dataset with ``x`` the spectra [N, 24], the covariate "image" [N, 1, 12, 12] and ``factors`` [N, 4].

    Raises:
        DataError: an option that cannot be used; the message names it.

    >>> ds = load_image_spectra(20)
    >>> ds.event_shape, ds.train.covariates["image"].shape
    ((24,), torch.Size([18, 1, 12, 12]))
    """
    count = _whole("n", _DEFAULT_N if n is None else n, 2)
    require_memory(f"image-spectra: n={count}", 4.0 * count * (SIDE**2 + NUM_CHANNELS), DataError)
    generator = torch.Generator().manual_seed(_whole("seed", seed, 0))
    d = 2 * torch.rand(count, 2, generator=generator) - 1
    side = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
    strength = 1 + STRENGTH_SPREAD * torch.randn(count, 1, generator=generator)
    images = render_cells(d) + IMAGE_NOISE * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    noise = SPECTRUM_NOISE * torch.randn(count, NUM_CHANNELS, generator=generator)
    spectra = strength * mean_spectrum(d, side[:, 0]) + noise
    whole = Split(spectra, factors=torch.cat([d, side, strength], 1), covariates={"image": images})
    train, test = split_in_two(whole, "image-spectra")
    notes = (f"{count} draws of the factors, seed {seed}", SPLIT_NOTE)
    return Dataset("image-spectra", train, test, FACTOR_NAMES, source="rendered", notes=notes)


def render_cells(d: Tensor) -> Tensor:
    """Draw the cells of displacements [N, 2] without noise: [N, 1, 12, 12]."""
    places = torch.linspace(-1, 1, SIDE)
    middle = _blobs(places, _REACH * d, _MIDDLE_WIDTH)
    corners = torch.cartesian_prod(torch.tensor([-_CORNER, _CORNER]), torch.tensor([-_CORNER, _CORNER]))
    return (middle + _blobs(places, corners, _CORNER_WIDTH).sum(0)).unsqueeze(1)


def mean_spectrum(d: Tensor, side: Tensor) -> Tensor:
    """The spectrum g(d, b) of unit strength for displacements [N, 2] and sides [N]: [N, 24]."""
    energy = torch.linspace(0, 1, NUM_CHANNELS)
    first = _peak(energy, 0.35 + 0.15 * d[:, 0], 0.05)
    return first + (0.6 + 0.4 * d[:, 1])[:, None] * _peak(energy, 0.75 + 0.1 * side, 0.04)


def spectrum_law(d: Tensor) -> Distribution:
    """The law p(x|d) of spectra at displacements [N, 2], averaged over strength and side: batch shape [N]."""
    sides = (torch.full_like(d[:, 0], side) for side in (-1.0, 1.0))
    means = torch.stack([mean_spectrum(d, side) for side in sides], 1)
    spread = torch.full_like(means, SPECTRUM_NOISE**2)
    given_side = LowRankMultivariateNormal(means, (STRENGTH_SPREAD * means).unsqueeze(-1), spread)
    return MixtureSameFamily(Categorical(torch.ones(len(d), 2)), given_side)


def _peak(energy: Tensor, centre: Tensor, width: float) -> Tensor:
    return (-0.5 * ((energy - centre[:, None]) / width).square()).exp()


def _blobs(places: Tensor, centres: Tensor, width: float) -> Tensor:
    """Round blobs of height 1 at centres [n, 2] in an image of these places: [n, S, S]."""
    down, right = (-0.5 * ((places - centres[:, i, None]) / width).square() for i in (0, 1))
    return (down[:, :, None] + right[:, None, :]).exp()


def _whole(option: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"image-spectra: {option} must be an integer of at least {least}, found {value!r}")
    return value
