"""A folder of image files as a data set.

folder/*.png                    images without labels, split 90/10
folder/<class>/*.png            one subfolder a class: labels in the order of the sorted names, split 90/10
folder/train/..., test/...      the two splits, each laid out in one of the ways above
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.dataset import Dataset
from ppl_vae.data.image_file import IMAGE_SUFFIXES, check_size, read_image
from ppl_vae.data.split import SPLIT_NOTE, split_indices, subset_indices, subset_notes
from ppl_vae.data.tensors import Arrays, to_split
from ppl_vae.errors import DataError


@dataclass(frozen=True)
class _Listing:
    files: list[Path]
    classes: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray | None:
        if not self.classes:
            return None
        return np.array([self.classes.index(file.parent.name) for file in self.files])

    def subset(self, limit: int | None) -> _Listing:
        return _Listing([self.files[i] for i in subset_indices(len(self.files), limit)], self.classes)


def load_image_folder(path: str | Path, *, size: int | None = None, limit: int | None = None) -> Dataset:
    """Images [N, C, H, W] in [0, 1]: one channel where all are grey, else red, green and blue.

    Args:
        path: the folder; files that are no images by their suffix are passed over.
        size: cut the middle square out of each image and resize it to this side; without it
            all images must be of one size.
        limit: at most this many images of each split, drawn at random under a fixed seed.

    Raises:
        DataError: no images, a damaged image, sizes that differ, or a layout of no clear meaning.
    """
    if size is not None:
        check_size(size)
    path = Path(path)
    listings = _listings(path)
    chosen = [listing.subset(limit) for listing in listings]
    arrays = _read([file for listing in chosen for file in listing.files], size)
    if len(chosen) == 2:
        here = len(chosen[0].files)
        parts = [Arrays(arrays[:here], chosen[0].labels), Arrays(arrays[here:], chosen[1].labels)]
    else:
        whole = Arrays(arrays, chosen[0].labels)
        parts = [whole[index] for index in split_indices(len(arrays), path)]
    train, test = (to_split(part, path, divisor=255) for part in parts)
    return Dataset(path.name, train, test, source=f"image folder {path}", notes=_notes(listings, chosen))


def _notes(listings: list[_Listing], chosen: list[_Listing]) -> tuple[str, ...]:
    notes = tuple(
        note
        for full, part in zip(listings, chosen, strict=True)
        for note in subset_notes(len(full.files), len(part.files))
    )
    if listings[0].classes:
        notes = (*notes, f"labels in order: {', '.join(listings[0].classes)}")
    return notes if len(listings) == 2 else (*notes, SPLIT_NOTE)


def _listings(path: Path) -> list[_Listing]:
    folders, _ = _contents(path)
    if not {"train", "test"} <= {folder.name for folder in folders}:
        return [_listing(path)]
    train, test = _listing(path / "train"), _listing(path / "test")
    if train.classes != test.classes:
        found = f"{', '.join(train.classes) or 'none'} and {', '.join(test.classes) or 'none'}"
        raise DataError(f"{path}: expected the same classes in train and test, found {found}")
    return [train, test]


def _listing(path: Path) -> _Listing:
    folders, files = _contents(path)
    by_class = {folder.name: inside for folder in folders if (inside := _contents(folder)[1])}
    if files and by_class:
        found = f"both {files[0].name} and the folder {next(iter(by_class))}"
        raise DataError(f"{path}: expected images either directly or in one subfolder a class, found {found}")
    if not files and not by_class:
        raise DataError(f"{path}: expected images ({', '.join(sorted(IMAGE_SUFFIXES))}), found none")
    return _Listing(files or [file for inside in by_class.values() for file in inside], tuple(by_class))


def _contents(path: Path) -> tuple[list[Path], list[Path]]:
    with parser_boundary(path, "a folder of images"):
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    return (
        [entry for entry in entries if entry.is_dir()],
        [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()],
    )


def _read(files: list[Path], size: int | None) -> np.ndarray:
    images = [read_image(file, size) for file in tqdm(files, "images", disable=None, leave=False)]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            sizes = f"{files[0]} is {_size(images[0])}, {file} is {_size(image)}"
            raise DataError(f"{sizes}: expected images of one size, or size= to crop and resize them")
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2) for image in images]
        return np.stack(images).transpose(0, 3, 1, 2)
    return np.stack(images)[:, None]


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
