"""A checksum of a tensor, for manifests: equal exactly when dtype, shape and every bit are equal."""

from __future__ import annotations

import hashlib

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.containers import Rows


def fingerprint(x: ArrayLike | Tensor | Rows) -> str:
    """Compute SHA-256 over the dtype, the shape and the bytes of a tensor on any device.

    Args:
        x: any dense tensor, or an array that becomes one; or ``Rows``, whose stored values count.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: x is no dense array of numbers.

    >>> fingerprint(torch.zeros(2, 3))[:16]
    '0494e76d72c2ef34'
    """
    if isinstance(x, Rows):
        parts = "-".join(fingerprint(part) for part in x.checked_parts())
        return hashlib.sha256(f"{tuple(x.shape)} {parts}".encode()).hexdigest()
    if not isinstance(x, Tensor) or x.layout != torch.strided or x.is_meta:
        x = to_tensor(x)
    digest = hashlib.sha256(f"{x.dtype} {tuple(x.shape)} ".encode())
    flat = x.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.numel():
        # A single number that was expanded counts as contiguous, and has a stride of 0.
        flat = flat if flat.stride(0) == 1 else flat.clone(memory_format=torch.contiguous_format)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
