"""The layout of a folder of images: which files there are, of which class, in which split.

folder/*.png                       images without labels
folder/<class>/**/*.png            one subfolder per class, with all that lies below it
folder/train/..., test/..., val/...   splits, each laid out in one of the ways above

A split goes by the names train, training; test, testing; val, valid, validation, dev. Validation images are
training images, as CelebA's are; without test images they are the test split. Hidden files are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.image_file import IMAGE_SUFFIXES
from ppl_vae.data.split import subset_indices
from ppl_vae.errors import DataError

_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
}


@dataclass(frozen=True)
class Listing:
    """The images of one split.

    Attributes:
        files: in the order of their names.
        members: of each file its class, as an index into ``classes``; empty where there are none.
        classes: their names, sorted.
        num_deeper: how many files lie below a subfolder of their class.
        num_passed_over: how many files are no images by their suffix.
    """

    files: list[Path]
    members: list[int] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    num_deeper: int = 0
    num_passed_over: int = 0

    @property
    def labels(self) -> np.ndarray | None:
        """The classes' indices [N], or None."""
        return np.array(self.members) if self.classes else None

    def subset(self, limit: int | None) -> Listing:
        """Keep at most ``limit`` of the files."""
        chosen = subset_indices(len(self.files), limit)
        members = [self.members[i] for i in chosen] if self.classes else []
        return Listing([self.files[i] for i in chosen], members, self.classes)


def splits_of(path: Path) -> tuple[list[Listing], tuple[str, ...]]:
    """The listings of a folder, one or train and test, and what a reader must know of how they came about.

    Raises:
        DataError: no images, or a layout of no clear meaning.
    """
    folders = _split_folders(path)
    found = {name: _joined([_listing(folder) for folder in parts]) for name, parts in folders.items()}
    notes: tuple[str, ...] = ()
    if not found:
        listings = [_listing(path)]
    elif len(found) == 1:
        ((name, listing),) = found.items()
        listings, notes = [listing], (f"all images are those of the folder {folders[name][0].name}",)
    else:
        listings, notes = _train_and_test(path, found)
    if count := sum(listing.num_deeper for listing in listings):
        notes = (*notes, f"{count} images lie in a folder below that of their class, and count as the class's")
    if count := sum(listing.num_passed_over for listing in listings):
        notes = (*notes, f"{count} files were passed over: they are no images by their suffix")
    return listings, notes


def _train_and_test(path: Path, found: dict[str, Listing]) -> tuple[list[Listing], tuple[str, ...]]:
    for listing in found.values():
        if listing.classes != found[next(iter(found))].classes:
            words = " and ".join(_short(each.classes) or "none" for each in found.values())
            raise DataError(f"{path}: expected the same classes in {' and '.join(found)}, found {words}")
    if "val" not in found:
        return [found["train"], found["test"]], ()
    if "train" not in found:
        raise DataError(f"{path}: expected a folder train beside {' and '.join(found)}, found none")
    if "test" not in found:
        return [found["train"], found["val"]], ("the validation images are the test split",)
    return [_joined([found["train"], found["val"]]), found["test"]], ("the validation images are in train",)


def _split_folders(path: Path) -> dict[str, list[Path]]:
    """The folders of each split; none where the subfolders are classes."""
    folders, files, _ = _contents(path)
    with_images = [folder for folder in folders if _images_below(folder)[0]]
    named: dict[str, list[Path]] = {}
    for folder in with_images:
        if (split := _SPLITS.get(folder.name.lower())) is not None:
            named.setdefault(split, []).append(folder)
    others = [folder.name for folder in with_images if folder.name.lower() not in _SPLITS]
    # One such name among others may well be a class: trains beside cars.
    if not named or (len(named) == 1 and others):
        return {}
    if others or files:
        beside = others[0] if others else files[0].name
        splits = " and ".join(folder.name for parts in named.values() for folder in parts)
        raise DataError(f"{path}: expected {splits} to be the splits and nothing beside, found {beside} there too")
    return {name: named[name] for name in ("train", "test", "val") if name in named}


def _joined(listings: Sequence[Listing]) -> Listing:
    first = listings[0]
    return Listing(
        [file for listing in listings for file in listing.files],
        [member for listing in listings for member in listing.members],
        first.classes,
        sum(listing.num_deeper for listing in listings),
        sum(listing.num_passed_over for listing in listings),
    )


def _listing(path: Path) -> Listing:
    folders, files, passed_over = _contents(path)
    by_class: dict[str, list[Path]] = {}
    for folder in folders:
        inside, other = _images_below(folder)
        passed_over += other
        if inside:
            by_class[folder.name] = inside
    if files and by_class:
        found = f"both {files[0].name} and the folder {next(iter(by_class))}"
        raise DataError(f"{path}: expected images either directly or in one subfolder per class, found {found}")
    if not files and not by_class:
        raise DataError(f"{path}: expected images ({', '.join(sorted(IMAGE_SUFFIXES))}), found none")
    if files:
        return Listing(files, num_passed_over=passed_over)
    all_files = [file for inside in by_class.values() for file in inside]
    members = [index for index, inside in enumerate(by_class.values()) for _ in inside]
    deeper = sum(file.parent.parent != path for file in all_files)
    return Listing(all_files, members, tuple(by_class), deeper, passed_over)


def _images_below(path: Path) -> tuple[list[Path], int]:
    """List the images of a folder and of all folders below it, and count the files that are no images."""
    found, passed_over = [], 0
    with parser_boundary(path, "a folder of images"):
        for folder, inner, names in os.walk(path):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            for name in sorted(name for name in names if not name.startswith(".")):
                if Path(name).suffix.lower() in IMAGE_SUFFIXES:
                    found.append(Path(folder, name))
                else:
                    passed_over += 1
    return found, passed_over


def _contents(path: Path) -> tuple[list[Path], list[Path], int]:
    with parser_boundary(path, "a folder of images"):
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if entry.is_file()]
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    return folders, images, len(files) - len(images)


def _short(names: Sequence[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
