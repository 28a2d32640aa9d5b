"""A folder of image files as a data set; ``folder_layout`` says how it may be laid out.

Without splits of its own it is split 90/10.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_vae.data.dataset import Dataset
from ppl_vae.data.exact_read import check_claim
from ppl_vae.data.folder_layout import Listing, splits_of
from ppl_vae.data.image_file import ImageHeader, check_size, read_header, read_image
from ppl_vae.data.split import SPLIT_NOTE, split_indices, subset_notes
from ppl_vae.data.tensors import Arrays, to_split
from ppl_vae.errors import DataError


def load_image_folder(path: str | Path, *, size: int | None = None, limit: int | None = None) -> Dataset:
    """Load images [N, C, H, W] in [0, 1]: one channel where all are grey, else red, green and blue.

    Args:
        path: the folder; files that are no images by their suffix are passed over.
        size: cut the middle square out of each image and resize it to this side; without it
            all images must be of one size.
        limit: at most this many images of each split, drawn at random under a fixed seed.

    Raises:
        DataError: no images, a damaged image, sizes that differ, a layout of no clear meaning, or small files that
            claim to hold very much.
    """
    if size is not None:
        check_size(size)
    path = Path(path)
    listings, notes = splits_of(path)
    chosen = [listing.subset(limit) for listing in listings]
    files = [file for listing in chosen for file in listing.files]
    headers = [read_header(file) for file in files]
    _check_memory(path, headers, size)
    arrays = _read(files, size, all(header.is_grey for header in headers))
    if len(chosen) == 2:
        here = len(chosen[0].files)
        parts = [Arrays(arrays[:here], chosen[0].labels), Arrays(arrays[here:], chosen[1].labels)]
    else:
        whole = Arrays(arrays, chosen[0].labels)
        parts = [whole[index] for index in split_indices(len(arrays), path)]
    train, test = (to_split(part, path, divisor=255) for part in parts)
    notes = (*_notes(listings, chosen), *notes, *_dropped(headers))
    return Dataset(path.name, train, test, source=f"image folder {path}", notes=notes)


def _check_memory(path: Path, headers: Sequence[ImageHeader], size: int | None) -> None:
    """Hold what the pixels of all files will take against the files' bytes, before the first is decoded."""
    channels = 1 if all(header.is_grey for header in headers) else 3
    claimed = sum(header.num_pixels if size is None else size**2 for header in headers) * channels
    check_claim(path, claimed, sum(header.stored for header in headers))


def _dropped(headers: Sequence[ImageHeader]) -> tuple[str, ...]:
    """Say which files, and which parts of files, are not in the arrays."""
    transparent = sum(header.has_transparency for header in headers)
    frames = sum(header.has_frames for header in headers)
    words = (
        (transparent, "images have transparency, which is not read: their colours are taken as they are"),
        (frames, "files have several frames or pages, of which the first is read"),
    )
    return tuple(f"{count} {text}" for count, text in words if count)


def _notes(listings: list[Listing], chosen: list[Listing]) -> tuple[str, ...]:
    notes = tuple(
        note
        for full, part in zip(listings, chosen, strict=True)
        for note in subset_notes(len(full.files), len(part.files))
    )
    if listings[0].classes:
        notes = (*notes, f"labels in order: {', '.join(listings[0].classes)}")
    return notes if len(listings) == 2 else (*notes, SPLIT_NOTE)


def _read(files: list[Path], size: int | None, is_grey: bool) -> np.ndarray:
    """Decode all images into one array of bytes [N, C, H, W]."""
    first = read_image(files[0], size)
    height, width = first.shape[:2]
    x = np.empty((len(files), 1 if is_grey else 3, height, width), np.uint8)
    for row, file in enumerate(tqdm(files, "images", disable=None, leave=False)):
        image = read_image(file, size)
        if image.shape[:2] != (height, width):
            sizes = f"{files[0]} is {width}x{height}, {file} is {image.shape[1]}x{image.shape[0]}"
            raise DataError(f"{sizes}: expected images of one size, or size= to crop and resize them")
        # A grey image [H, W] among coloured ones goes into all three channels.
        x[row] = np.atleast_3d(image).transpose(2, 0, 1)
    return x
