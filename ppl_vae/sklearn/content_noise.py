"""The noise of a datum's own: a function of the datum's content and a seed, wherever the datum stands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def content_noise(x: Tensor, shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, Tensor]:
    """Draw standard-normal noise that does not depend on the order or the choice of the data.

    Equal data get equal noise, different data independent noise.

    Args:
        x: the data [N, *event_shape].
        shapes: by latent site, the shape [K, *event] of the noise of one datum.
        seed: of the noise.

    Returns:
        By site, eps [K, N, *event] in the precision of x.
    """
    streams = [np.random.Generator(np.random.Philox(key=_key(datum, seed))) for datum in _rows(x)]
    return {
        name: torch.from_numpy(np.stack([stream.standard_normal(tuple(shape)) for stream in streams], 1)).to(x)
        for name, shape in shapes.items()
    }


def content_seed(x: Tensor, seed: int) -> list[int]:
    """A seed of 32 bits for every datum of x [N, *event_shape], by its content."""
    return [_key(datum, seed) % 2**32 for datum in _rows(x)]


def _rows(x: Tensor) -> list[bytes]:
    # Minus zero is zero: equal data have equal bytes.
    return [datum.tobytes() for datum in (x + 0.0).detach().cpu().contiguous().numpy()]


def _key(datum: bytes, seed: int) -> int:
    digest = hashlib.blake2b(datum, digest_size=16, key=int(seed).to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")
