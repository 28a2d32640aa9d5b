"""Images of many data as one sheet of tiles, small enough to travel inside a page."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Sheets that are larger than this together are compressed with loss, in bytes before compression.
LOSSLESS_LIMIT = 6_000_000
# WebP's own scale, from 0 to 100.
QUALITY = 60
# No browser takes a WebP image that is wider.
WIDEST = 16383


@dataclass(frozen=True)
class Sheet:
    """Tiles side by side, row by row.

    Attributes:
        source: the image as a data URI.
        across: the number of tiles in a row.
        height: of a tile in pixels.
        width: likewise.
    """

    source: str
    across: int
    height: int
    width: int


def shrunk(tiles: NDArray[np.uint8], largest: int) -> NDArray[np.uint8]:
    """Halve the resolution of tiles [N, H, W(, 3)], by means over squares, until no side is above ``largest``."""
    while max(tiles.shape[1:3]) > largest and min(tiles.shape[1:3]) >= 2:
        height, width = tiles.shape[1] // 2 * 2, tiles.shape[2] // 2 * 2
        parts = [tiles[:, i:height:2, j:width:2].astype(np.uint16) for i in (0, 1) for j in (0, 1)]
        tiles = ((sum(parts[1:], start=parts[0]) + 2) // 4).astype(np.uint8)
    return tiles


def make_sheet(tiles: NDArray[np.uint8], lossless: bool) -> Sheet:
    """Lay tiles [N, H, W] or [N, H, W, 3] side by side and compress them."""
    count, height, width = tiles.shape[:3]
    across = max(1, min(math.ceil(math.sqrt(count * height / width)), WIDEST // width))
    down = math.ceil(count / across)
    sheet = np.zeros((down * across, *tiles.shape[1:]), np.uint8)
    sheet[:count] = tiles
    grid = sheet.reshape(down, across, *tiles.shape[1:])
    whole = np.ascontiguousarray(np.moveaxis(grid, 2, 1)).reshape(down * height, across * width, *tiles.shape[3:])
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "WEBP", lossless=lossless, quality=QUALITY, method=2)
    return Sheet(f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", across, height, width)


def is_small(tiles: list[NDArray[np.uint8]]) -> bool:
    """Tell whether images need no compression that loses anything."""
    return sum(each.nbytes for each in tiles) <= LOSSLESS_LIMIT
