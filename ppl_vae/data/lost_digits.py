"""A warning where data lose the digits that tell them apart on their way to the single precision of a pair.

Seconds since 1970 are told apart in steps of 128 there: of data that differ by less nothing is left.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.containers import Labels, Rows

# Steps of the kept precision between the least and the largest value of a coordinate; fewer are told.
FEWEST_STEPS = 256.0
# Parts of that range which rounding must move, and of the value itself, below which a range is rounding of its own.
MOVED, NOISE = 1e-3, 1e-12
# Data on disk of which so many are looked at.
STORED = 10_000


def warn_of_lost_digits(
    x: Tensor | Rows | None,
    kept: torch.dtype,
    labels: Labels | None = None,
    name: str = "data",
    wider: str = "take double precision by vae.double()",
) -> None:
    """Warn where single precision rounds data [N, *event_shape] of a wider type to a few values; one is named.

    Args:
        x: the data, not yet rounded; NaN stands for what is missing. None is not looked at.
        kept: the precision that they are taken in.
        labels: the names of their coordinates.
        name: what they are called in the warning.
        wider: what else may be done.
    """
    if x is None or kept != torch.float32 or x.dtype not in (torch.float64, torch.int32, torch.int64):
        return
    wide = (x[:STORED] if isinstance(x, Rows) else x).double()
    wide = wide.reshape(len(wide), -1)
    least, most = (_extreme(wide, largest) for largest in (False, True))
    size, spread = torch.maximum(least.abs(), most.abs()), most - least
    step = size * torch.finfo(kept).eps
    near = ((spread > NOISE * size) & (spread < FEWEST_STEPS * step)).nonzero().squeeze(1)
    off = (wide[:, near] - wide[:, near].to(kept).double()).abs().nan_to_num().amax(0)
    lost = near[off > MOVED * spread[near]].tolist()
    if not lost:
        return
    first = lost[0]
    place = torch.unravel_index(torch.tensor(first), x.shape[1:] or (1,))
    where = (labels or Labels()).at([0, *(int(index) for index in (place if x.dim() > 1 else ()))])
    also = f", and {len(lost) - 1} coordinates more" if len(lost) > 1 else ""
    warnings.warn(
        f"{name}: single precision tells values between {least[first]:.12g} and {most[first]:.12g} apart in steps "
        f"of about {step[first]:.3g}, as at {where}{also}: what is learned or told is of rounded data; subtract an "
        f"offset, such as the mean, or {wider}",
        stacklevel=2,
    )


def warn_of_covariates(
    given: Sequence[object], names: Sequence[str], kept: torch.dtype, labels: Labels | None = None
) -> None:
    """Warn likewise of covariates that are floats; whole numbers and classes are taken as they are.

    Args:
        given: the covariates, each [N, ...], not yet rounded.
        names: theirs.
        kept: the precision that they are taken in.
        labels: the names of the data that they stand beside.
    """
    labels = labels or Labels()
    for name, c in zip(names, given, strict=True):
        values = c if isinstance(c, Rows | Tensor) else to_tensor(c, name)
        if values.dtype == torch.float64:
            warn_of_lost_digits(values, kept, Labels(labels.rows, labels.beside.get(name, ())), name)


def _extreme(x: Tensor, largest: bool) -> Tensor:
    """The least or largest value of every column of x [N, D] that is not missing."""
    found = x.amax(0) if largest else x.amin(0)
    if not found.isnan().any():
        return found
    filled = torch.where(x.isnan(), -torch.inf if largest else torch.inf, x)
    return filled.amax(0) if largest else filled.amin(0)
