r"""Interpolation quality: the evidence along a path through latent space against that of straight pixels.

    latent   x_t = E[x | (1 - t) z_1 + t z_2],      z_1, z_2 the codes of two data (``vae.interpolate``)
    pixels   x_t = (1 - t) x_1 + t x_2

both judged by log p(x_t) of the model itself. A path that stays where data are keeps its evidence between the ends;
a blend of two images loses it. Binary data are cut at one half first, so that both paths lie where the likelihood
does. The ends of the latent path are reconstructions, whose evidence is higher than the data's own: what counts is
how far either path falls below the straight line between the evidence of its own ends, its sag.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.diagnostics.verdict import Level, Verdict, require_finite, require_table
from ppl_vae.errors import DataError
from ppl_vae.inference.evidence.evidence import log_evidence
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword

STREAM = 65
PATHS = ("latent", "pixels")


@by_keyword("seed")
def run_interpolation(
    pair: PairLike, path: Array, x1: Array, x2: Array, num_samples: int = 100, *, seed: int = 0
) -> xr.Dataset:
    """Compute the evidence along decoded paths and along straight pixels between the same data.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        path: decoded images from x1 to x2, equally spaced, [S, N, *event_shape] with S of at least 3; as of
            ``vae.interpolate(x1, x2, num_steps=S)``.
        x1: the data at t = 0 [N, *event_shape], N of at least 2.
        x2: those at t = 1.
        num_samples: importance draws of every image.
        seed: of the draws; all images have the same.

    Returns:
        Over "path" ("latent", "pixels") and "t": ``log_evidence``, its mean over pairs, and ``log_evidence_stderr``
        over pairs, nats. Over "path": ``sag``, by how much the lowest point between lies below the line between the
        ends, mean over pairs, with ``sag_stderr``. ``gain``: the pixels' sag less the latent path's, over the same
        pairs, and ``gain_stderr``. Over "t": ``gain_at``, the difference of the two distances from the line.

    Raises:
        ModelError: the pair is refused.
        DataError: shapes do not fit, or the likelihood has no density for some value.
    """
    start, end, latent = to_tensor(x1, "x1"), to_tensor(x2, "x2"), to_tensor(path, "path")
    fits = latent.dim() > 1 and len(latent) > 2 and latent.shape[1:] == start.shape == end.shape
    if not fits or len(start) < 2:
        raise DataError(
            "path: expected [S, N, *event_shape] with S of at least 3 and x1, x2 [N, *event_shape] with N of at "
            f"least 2, got {list(latent.shape)}, {list(start.shape)} and {list(end.shape)}"
        )
    # Integers, as binary pixels may be stored, have nothing between them.
    start, end = start.to(latent.dtype), end.to(latent.dtype)
    times = torch.linspace(0, 1, len(latent), dtype=start.dtype, device=start.device)
    straight = torch.stack([torch.lerp(start, end, t) for t in times])
    binary = bool(((start == 0) | (start == 1)).all() and ((end == 0) | (end == 1)).all())
    drawn = derived_seed(seed, STREAM)
    values = np.stack([_evidence(pair, images, binary, num_samples, drawn) for images in (latent, straight)])
    return _table(values, times.double().cpu().numpy()).assign_attrs(
        num_samples=num_samples, num_pairs=len(start), seed=seed, cut_at_half=int(binary), units="nats per datum"
    )


def check_interpolation(numbers: xr.Dataset) -> Verdict:
    """Judge whether the latent path sags less than straight pixels.

    "good" where it does by more than two standard errors over pairs, "bad" where it sags more by as much; "unknown"
    where the pairs do not tell.

    Raises:
        DataError: numbers are not what ``run_interpolation`` gave, or one is NaN or infinite.
    """
    require_table("numbers", numbers, "run_interpolation", ("sag", "gain", "gain_stderr"), ("path", "t"))
    for name in ("sag", "gain", "gain_stderr"):
        require_finite("numbers", name, numbers[name].values)
    gain, error = numbers["gain"].item(), numbers["gain_stderr"].item()
    level: Level = "good" if gain > 2 * error else "bad" if gain < -2 * error else "unknown"
    latent, pixels = (numbers["sag"].sel(path=name).item() for name in PATHS)
    words = (
        f"Between its ends the latent path falls {latent:.2f} nats below the line between them, straight pixels "
        f"{pixels:.2f}."
    )
    advice = (
        "The code has holes between data: see run_latent_holes, or a smaller latent_dim." if level == "bad" else ""
    )
    threshold = "a gain over straight pixels of 0, by two standard errors over pairs"
    return Verdict("interpolation", level, gain, error, "nats per datum", threshold, words, advice)


def _evidence(pair: PairLike, images: Tensor, binary: bool, num_samples: int, seed: int) -> NDArray[np.float64]:
    """Compute log p(x) of images [S, N, *event_shape]: [S, N]."""
    x = (images > 0.5).to(images.dtype) if binary else images
    found = log_evidence(pair, x.flatten(0, 1), num_samples=num_samples, seed=seed, progress=False)
    return found.per_datum.double().cpu().numpy().reshape(images.shape[:2])


def _table(values: NDArray[np.float64], times: NDArray[np.float64]) -> xr.Dataset:
    """Tabulate log p(x) [2, S, N] at times [S]."""
    count = values.shape[-1]
    line = values[:, :1] + times[:, None] * (values[:, -1:] - values[:, :1])
    below = line - values
    sag = below[:, 1:-1].max(1)
    gain, root = sag[1] - sag[0], math.sqrt(count)
    over = ("path", "t")
    return xr.Dataset(
        {
            "log_evidence": (over, values.mean(-1)),
            "log_evidence_stderr": (over, values.std(-1, ddof=1) / root),
            "sag": ("path", sag.mean(-1)),
            "sag_stderr": ("path", sag.std(-1, ddof=1) / root),
            "gain": gain.mean(),
            "gain_stderr": gain.std(ddof=1) / root,
            "gain_at": ("t", (below[1] - below[0]).mean(-1)),
        },
        {"path": list(PATHS), "t": times},
    )
