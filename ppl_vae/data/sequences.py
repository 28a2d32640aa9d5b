r"""Sequences of differing length stand in one tensor [N, ..., T, D]; a frame that is not there is NaN.

A likelihood that knows missing coordinates ("missing-pixels") leaves NaN out; a deep Markov model also ends its
chain where the frames end. In a file ``lengths`` [N] say how many frames of x [N, T, D] count, and a ``mask``,
[N, T] or of the shape of x, which frames or coordinates were observed (1) and which not (0); what x holds in the
other places is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.errors import DataError


def pad_sequences(sequences: Iterable[ArrayLike | Tensor], num_frames: int | None = None) -> Tensor:
    """Stack sequences [T_n, D] of any lengths into float32 [N, T, D], with NaN after the end of each.

    Args:
        sequences: arrays of as many columns.
        num_frames: T; that of the longest by default.

    Raises:
        DataError: there is none, one is empty or longer than ``num_frames``, or they differ in D.

    >>> pad_sequences([[[1.0], [0.0]], [[1.0]]])[:, :, 0]
    tensor([[1., 0.],
            [1., nan]])
    """
    parts = [to_tensor(part, f"sequence {i}").to(torch.float32) for i, part in enumerate(sequences)]
    if not parts:
        raise DataError("sequences: expected at least one, found none")
    longest = max(len(part) if part.dim() else 0 for part in parts) if num_frames is None else num_frames
    width = parts[0].shape[-1] if parts[0].dim() == 2 else 0
    for index, part in enumerate(parts):
        if part.dim() != 2 or part.shape[1] != width or not 1 <= len(part) <= longest:
            raise DataError(
                f"sequence {index}: expected shape [T, {width or 'D'}] with T from 1 to {longest}, "
                f"found {list(part.shape)}"
            )
    padded = torch.full((len(parts), longest, width), torch.nan)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    return padded


def observed(
    x: np.ndarray, lengths: np.ndarray | None, mask: np.ndarray | None, where: object
) -> tuple[np.ndarray, np.ndarray | None]:
    """Split x into its values and a mask of where they are observed.

    Args:
        x: data [N, T, D] where lengths or a mask of frames are given, else of any shape.
        lengths: whole numbers [N] from 1 to T.
        mask: zeros and ones, [N, T] or of the shape of x.
        where: the file, for messages.

    Returns:
        x with one of its observed values in the place of what is missing, and booleans of its shape that say where
        that is; x itself and None where neither lengths nor mask are given.

    Raises:
        DataError: shapes or values that do not fit, or nothing is observed.
    """
    if lengths is None and mask is None:
        return x, None
    missing = np.zeros(x.shape, dtype=bool)
    if lengths is not None:
        missing |= _after(_lengths(lengths, x, where), x.shape[1])[:, :, None]
    if mask is not None:
        missing |= ~_mask(mask, x, where)
    if missing.all():
        raise DataError(f"{where}: expected a mask with ones, found that no value of x is observed")
    return np.where(missing, x.flat[missing.argmin()], x), missing


def _after(lengths: np.ndarray, num_frames: int) -> np.ndarray:
    """Mark the frames that come after the end: [N, T]."""
    return np.arange(num_frames) >= lengths[:, None]


def _lengths(lengths: np.ndarray, x: np.ndarray, where: object) -> np.ndarray:
    if x.ndim != 3:
        raise DataError(f"{where}: lengths need sequences x [N, T, D], found x of shape {x.shape}")
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "iu":
        raise DataError(
            f"{where}: expected lengths as whole numbers [{len(x)}], found dtype {lengths.dtype} and shape "
            f"{lengths.shape}"
        )
    if lengths.min() < 1 or lengths.max() > x.shape[1]:
        bad = int(np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))[0])
        raise DataError(
            f"{where}: expected lengths from 1 to the {x.shape[1]} frames of x, found {lengths[bad]} for "
            f"sequence {bad}"
        )
    return lengths


def _mask(mask: np.ndarray, x: np.ndarray, where: object) -> np.ndarray:
    """Widen a mask to booleans of the shape of x."""
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise DataError(f"{where}: expected a mask of zeros and ones")
    if mask.shape == x.shape:
        return mask.astype(bool)
    if x.ndim == 3 and mask.shape == x.shape[:2]:
        return np.broadcast_to(mask[:, :, None], x.shape).astype(bool)
    raise DataError(f"{where}: expected a mask [N, T] or of the shape of x, {x.shape}, found {mask.shape}")
