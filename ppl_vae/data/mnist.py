"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017): 28x28 grey images of ten classes.

Each is four IDX files, gzipped or not, looked for in this order:

1. ``root=``: the folder that holds them, or one above it (a subfolder named after the data set, or
   torchvision's ``MNIST/raw``);
2. the folder that the environment variable PPL_VAE_DATA names, by the same rule;
3. the user's cache;
4. the mirrors, from which they are downloaded into the cache, and verified by their checksums.

With ``root=`` nothing is ever downloaded.

LeCun, Bottou, Bengio & Haffner 1998, https://doi.org/10.1109/5.726791; Xiao, Rasul & Vollgraf 2017,
https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.download import download
from ppl_vae.data.idx import read_idx
from ppl_vae.data.locations import (
    ENVIRONMENT_VARIABLE,
    cache_folder,
    environment_root,
    first_existing,
    folders_under,
)
from ppl_vae.data.mnist_checksums import recognise
from ppl_vae.data.tensors import Arrays, to_split
from ppl_vae.errors import DataError

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class _Source:
    name: str
    subfolders: tuple[str, ...]
    mirrors: tuple[str, ...]


_MNIST = _Source(
    "mnist",
    ("mnist", "MNIST/raw"),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "http://yann.lecun.com/exdb/mnist",
    ),
)
_FASHION = _Source(
    "fashion-mnist",
    ("fashion-mnist", "FashionMNIST/raw"),
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    ),
)


def load_mnist(*, root: str | Path | None = None, mirrors: Sequence[str] | None = None) -> Dataset:
    """Load handwritten digits: 60,000 training and 10,000 test images [N, 1, 28, 28] in [0, 1], labels 0 to 9.

    Args:
        root: the folder of the four files, or one above it; nothing is downloaded then.
        mirrors: addresses to download from instead of the known ones.

    Raises:
        DataError: files that are missing, damaged, of unequal counts or another data set's; no download.
    """
    return _load(_MNIST, root, mirrors)


def load_fashion_mnist(*, root: str | Path | None = None, mirrors: Sequence[str] | None = None) -> Dataset:
    """Load articles of clothing: 60,000 training and 10,000 test images [N, 1, 28, 28] in [0, 1], labels 0 to 9.

    Args:
        root: the folder of the four files, or one above it; nothing is downloaded then.
        mirrors: addresses to download from instead of the known ones.

    Raises:
        DataError: files that are missing, damaged, of unequal counts or another data set's; no download.
    """
    return _load(_FASHION, root, mirrors)


def _load(source: _Source, root: str | Path | None, mirrors: Sequence[str] | None) -> Dataset:
    files = _find(source, root) or _download(source, source.mirrors if mirrors is None else mirrors)
    canonical = [_is_canonical(source, expected, file) for expected, file in zip(_FILES, files, strict=True)]
    if all(canonical):
        note = f"checksums: all four files are those of the canonical {source.name}"
    else:
        others = ", ".join(file.name for file, same in zip(files, canonical, strict=True) if not same)
        note = f"checksums: not among the canonical {source.name}'s known ones: {others}"
    train, test = _read_split(*files[:2]), _read_split(*files[2:])
    return Dataset(source.name, train, test, source=f"IDX files in {files[0].parent}", notes=(note,))


def _find(source: _Source, root: str | Path | None) -> list[Path] | None:
    if root is not None:
        folders = folders_under(root, source.subfolders)
        if not (files := _first_whole(folders)):
            expected = ", ".join(f"{name}[.gz]" for name in _FILES)
            looked = ", ".join(map(str, folders))
            raise DataError(
                f"{root}: expected the files {expected} in one of {looked}, found no folder with all four"
            )
        return files
    environment = environment_root()
    folders = [] if environment is None else folders_under(environment, source.subfolders)
    return _first_whole([*folders, cache_folder(source.name)])


def _first_whole(folders: list[Path]) -> list[Path] | None:
    for folder in folders:
        files = [file for name in _FILES if (file := _variant(folder, name))]
        if len(files) == len(_FILES):
            return files
    return None


def _variant(folder: Path, name: str) -> Path | None:
    # Some copies write train-images.idx3-ubyte.
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / f"{stem}{ending}" for stem in (name, dotted) for ending in ("", ".gz"))
    return first_existing(candidates)


def _download(source: _Source, mirrors: Sequence[str]) -> list[Path]:
    files = [cache_folder(source.name) / f"{name}.gz" for name in _FILES]
    try:
        for name, file in zip(_FILES, files, strict=True):
            if not file.is_file():
                download(file.name, mirrors, file, functools.partial(_is_published, f"{source.name}/{name}"))
    except DataError as error:
        advice = f"without a network, name a folder that has the files by root= or {ENVIRONMENT_VARIABLE}"
        # One refusal, not the mirrors' and then this one.
        raise DataError(f"{error}; {advice}") from None
    return files


def _is_published(published: str, file: Path) -> bool:
    return recognise(file) == published


def _is_canonical(source: _Source, expected: str, file: Path) -> bool:
    found = recognise(file)
    if found is not None and found != f"{source.name}/{expected}":
        raise DataError(f"{file}: expected {source.name}/{expected}, found (by its checksum) {found}")
    return found is not None


def _read_split(image_file: Path, label_file: Path) -> Split:
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise DataError(f"{image_file}: expected bytes [N, H, W], found {images.dtype} {images.shape}")
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise DataError(f"{label_file}: expected bytes [N], found {labels.dtype} {labels.shape}")
    if len(images) != len(labels):
        raise DataError(
            f"{image_file} and {label_file}: expected a label for each image, found {len(images)} images "
            f"and {len(labels)} labels"
        )
    return to_split(Arrays(images, labels), image_file, divisor=255)
