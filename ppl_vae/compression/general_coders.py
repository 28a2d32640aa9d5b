"""The size of the same binary images under coders that know nothing of them: PNG, WebP, xz, gzip, bz2."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.errors import DataError

PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, 9, mtime=0),
    "bz2": lambda content: bz2.compress(content, 9),
    "xz": lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME),
}


def general_sizes(x: Array) -> dict[str, int]:
    """The bytes that each takes for all images at once: one picture, or one stream of packed bits.

    The pictures of PNG and WebP, of one bit a pixel where the format has it, hold all images below one another, so
    that no header is paid per image.

    Args:
        x: zeros and ones [N, ..., H, W]; other data are one row each.

    Raises:
        DataError: x is not binary.
    """
    values = to_tensor(x).cpu().numpy()
    if values.size == 0 or not np.isin(values, (0, 1)).all():
        raise DataError("x: expected zeros and ones")
    bits = values.astype(np.uint8)
    packed = np.packbits(bits.reshape(-1)).tobytes()
    sizes = {name: len(coder(packed)) for name, coder in PACKED.items()}
    picture = bits.reshape(-1, bits.shape[-1]) if bits.ndim > 2 else bits
    return {"raw, 1 bit a pixel": len(packed), **sizes, "PNG": _picture(picture, "PNG"), "WebP": _webp(picture)}


def _picture(bits: NDArray[np.uint8], kind: str) -> int:
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(255 * bits)
    if kind == "PNG":
        image.convert("1").save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "WebP", lossless=True, quality=100, method=6)
    return buffer.tell()


def _webp(bits: NDArray[np.uint8]) -> int:
    # A side of a WebP picture is at most 16,383 pixels.
    pieces = np.array_split(bits, -(-len(bits) // 16000))
    return sum(_picture(piece, "WebP") for piece in pieces)
