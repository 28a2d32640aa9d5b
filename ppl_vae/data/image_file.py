"""One image file -> an array of bytes, grey [H, W] or colour [H, W, 3]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.errors import DataError

# By name, because Pillow would otherwise try every format it knows, one of which runs Ghostscript.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

#: The most pixels of one image; a small file can claim billions.
MAX_PIXELS = 2**25

_GREY = frozenset({"1", "L", "LA", "La"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"})


def read_image(path: str | Path, size: int | None = None) -> np.ndarray:
    """Decodes an image of 8 bits a channel, without its transparency; of an animation, the first frame.

    Args:
        path: the file.
        size: side in pixels: the largest square in the middle is cut out and resized. None keeps the image
            as it is.

    Returns:
        uint8 [H, W] for a grey image, [H, W, 3] for a coloured one.

    Raises:
        DataError: the file is missing, damaged, truncated, too large, or not of 8 bits a channel.
    """
    path = Path(path)
    with parser_boundary(path, "an image"), Image.open(path, formats=_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{path}: expected at most {MAX_PIXELS} pixels, found {image.width}x{image.height}")
        if image.mode not in _GREY | _COLOUR:
            raise DataError(f"{path}: expected an image of 8 bits a channel, found Pillow's mode {image.mode!r}")
        plain: Image.Image = image.convert("L" if image.mode in _GREY else "RGB")
        return np.array(plain if size is None else _middle_square(plain, size))


def _middle_square(image: Image.Image, size: int) -> Image.Image:
    # ImageOps.fit would do both at once, but its filter reaches over the edge of the square.
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)


def check_size(size: int) -> None:
    """Refuses a side that is not a whole number above 0.

    Raises:
        DataError: another size.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or size**2 > MAX_PIXELS:
        raise DataError(f"size: expected a whole number of pixels above 0, found {size!r}")
