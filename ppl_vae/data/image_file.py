"""One image file -> an array of bytes, grey [H, W] or colour [H, W, 3]; and what its header says before that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageFile, ImageOps

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.errors import DataError

# By name, because Pillow would otherwise try every format it knows, one of which runs Ghostscript.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

#: The most pixels of one image; a small file can claim billions.
MAX_PIXELS = 2**25

_GREY = frozenset({"1", "L", "LA", "La"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"})
_TRANSPARENT = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file: what the file claims before its pixels are decoded.

    Attributes:
        num_pixels: height times width.
        is_grey: whether it becomes [H, W].
        has_transparency: whether it has an alpha channel or a transparent colour, which is not read.
        has_frames: whether it has more than one frame or page, of which the first alone is read.
        stored: the file's bytes on disk.
    """

    num_pixels: int
    is_grey: bool
    has_transparency: bool
    has_frames: bool
    stored: int


@runtime_checkable
class Animated(Protocol):
    """An image of a format that knows of several frames or pages."""

    is_animated: bool


def read_header(path: str | Path) -> ImageHeader:
    """Judge an image by its header, without the memory that its pixels take.

    Raises:
        DataError: the file is missing, no image, too large, or not of 8 bits per channel.
    """
    path = Path(path)
    with parser_boundary(path, "an image"), Image.open(path, formats=_FORMATS) as image:
        _check(image, path)
        return ImageHeader(
            num_pixels=image.width * image.height,
            is_grey=image.mode in _GREY,
            has_transparency=image.mode in _TRANSPARENT or "transparency" in image.info,
            has_frames=isinstance(image, Animated) and bool(image.is_animated),
            stored=path.stat().st_size,
        )


def read_image(path: str | Path, size: int | None = None) -> np.ndarray:
    """Decode an image of 8 bits per channel, upright, without its transparency; of several frames, the first.

    Args:
        path: the file.
        size: side in pixels: the largest square in the middle is cut out and resized. None keeps the image
            as it is.

    Returns:
        uint8 [H, W] for a grey image, [H, W, 3] for a coloured one.

    Raises:
        DataError: the file is missing, damaged, truncated, too large, or not of 8 bits per channel.
    """
    path = Path(path)
    with parser_boundary(path, "an image"), Image.open(path, formats=_FORMATS) as image:
        _check(image, path)
        mode = "L" if image.mode in _GREY else "RGB"
        # A camera that was held upright says so in a tag and stores the picture lying.
        plain: Image.Image = ImageOps.exif_transpose(image).convert(mode)
        return np.array(plain if size is None else _middle_square(plain, size))


def _check(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{path}: expected at most {MAX_PIXELS} pixels, found {image.width}x{image.height}")
    # Colour of 16 bits has an 8-bit mode in Pillow, which drops the lower byte; the raw mode tells.
    raw = [str(part) for tile in _tiles(image) for part in _parts(tile[3])]
    deep = next((part for part in raw if ";16" in part), None)
    if image.mode not in _GREY | _COLOUR or deep:
        found = f"Pillow's mode {image.mode!r}" + (f" of raw mode {deep!r}" if deep else "")
        raise DataError(
            f"{path}: expected an image of 8 bits per channel, found {found}; convert it to 8 bits, "
            "or save its values, divided by the largest they can be (65535 of 16 bits), as an array in an .npy file"
        )


def _tiles(image: Image.Image) -> list[ImageFile._Tile]:
    """The parts of an image file, which say how they are stored."""
    return image.tile if isinstance(image, ImageFile.ImageFile) else []


def _parts(arguments: object) -> tuple[object, ...]:
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _middle_square(image: Image.Image, size: int) -> Image.Image:
    # ImageOps.fit would do both at once, but its filter reaches over the edge of the square.
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)


def check_size(size: int) -> None:
    """Refuse a side that is not a whole number above 0.

    Raises:
        DataError: another size.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or size**2 > MAX_PIXELS:
        raise DataError(f"size: expected a whole number of pixels above 0, found {size!r}")
