"""CelebA (Liu et al., 2015): aligned photographs of faces with 40 attributes, from the user's own copy.

root/img_align_celeba/000001.jpg ...
root/list_attr_celeba.txt        the count; the attributes' names; for each image "000001.jpg -1 1 ..."
root/list_eval_partition.txt     optional rows "000001.jpg 0": 0 training, 1 validation, 2 test

Kaggle's copy has .csv tables, and its images one folder deeper, in img_align_celeba/img_align_celeba.

Liu, Luo, Wang & Tang 2015, https://arxiv.org/abs/1411.7766.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.celeba_tables import Attributes, read_attributes, read_partition
from ppl_vae.data.dataset import Dataset
from ppl_vae.data.image_file import check_size, read_image
from ppl_vae.data.locations import ENVIRONMENT_VARIABLE, environment_root, first_existing, folders_under
from ppl_vae.data.split import SPLIT_NOTE, split_indices, subset_indices, subset_notes
from ppl_vae.data.tensors import Arrays, to_split
from ppl_vae.errors import DataError

_IMAGES = "img_align_celeba"
_ATTRIBUTES = "list_attr_celeba"
_PARTITION = "list_eval_partition"
_TABLES = (".txt", ".csv")


def load_celeba(*, root: str | Path | None = None, size: int = 64, limit: int | None = None) -> Dataset:
    """Load colour images [N, 3, size, size] in [0, 1] with the attributes as factors: 1 present, 0 absent.

    Each image is cut to the largest square in its middle and resized. With the partition file, its training
    and validation images are ``train``. All 202,599 images of side 64 take about 13 GB of memory.

    Args:
        root: the folder laid out as above, or one with such a subfolder ``celeba``; by default the folder
            that PPL_VAE_DATA names.
        size: side of the images in pixels.
        limit: at most this many images, drawn at random under a fixed seed.

    Raises:
        DataError: a folder or file is missing, a table is malformed or names an absent image, an image
            is damaged.
    """
    check_size(size)
    folder = _find(root)
    table = read_attributes(_table(folder, _ATTRIBUTES) or folder / f"{_ATTRIBUTES}.txt")
    images = _images(folder)
    _check_images(images, table)
    chosen = subset_indices(len(table.files), limit)
    indices, note = _split(folder, table, chosen)
    train, test = (to_split(_read(images, table, index, size), folder, divisor=255) for index in indices)
    notes = (*subset_notes(len(table.files), len(chosen)), note, f"middle square resized to {size}x{size}")
    return Dataset("celeba", train, test, table.names, source=f"folder {folder}", notes=notes)


def _find(root: str | Path | None) -> Path:
    base = environment_root() if root is None else Path(root)
    if base is None:
        raise DataError(
            f"celeba: expected root= or {ENVIRONMENT_VARIABLE} to name the folder of {_IMAGES} and "
            f"{_ATTRIBUTES}.txt (or .csv), found neither; the files are at https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
        )
    candidates = folders_under(base, ("celeba", "CelebA"))
    if images := first_existing(candidate / _IMAGES for candidate in candidates):
        return images.parent
    looked = ", ".join(map(str, candidates))
    raise DataError(f"celeba: expected a folder {_IMAGES} in one of {looked}, found none")


def _table(folder: Path, name: str) -> Path | None:
    return first_existing(folder / f"{name}{ending}" for ending in _TABLES)


def _images(folder: Path) -> Path:
    return first_existing([folder / _IMAGES / _IMAGES]) or folder / _IMAGES


def _check_images(images: Path, table: Attributes) -> None:
    with parser_boundary(images, "a folder of images"):
        present = {file.name for file in images.iterdir()}
    absent = [file for file in table.files if file not in present]
    if absent:
        expected = f"every image of {_ATTRIBUTES} in {_IMAGES}"
        raise DataError(f"{images}: expected {expected}, found {len(absent)} absent, the first {absent[0]}")


def _split(folder: Path, table: Attributes, chosen: np.ndarray) -> tuple[list[np.ndarray], str]:
    path = _table(folder, _PARTITION)
    if path is None:
        return [chosen[part] for part in split_indices(len(chosen), folder)], SPLIT_NOTE
    codes = read_partition(path, table.files)[chosen]
    parts = [chosen[codes != 2], chosen[codes == 2]]
    if not all(len(part) for part in parts):
        found = f"{len(parts[0])} and {len(parts[1])}"
        raise DataError(f"{path}: expected images for train (0, 1) and for test (2), found {found}")
    return parts, f"split by {path.name}: 0 and 1 are train, 2 is test"


def _read(images: Path, table: Attributes, index: np.ndarray, size: int) -> Arrays:
    # Filled in place as bytes: a list of the images beside their stack would take the memory twice.
    x = np.empty((len(index), 3, size, size), np.uint8)
    for row, i in enumerate(tqdm(index, "celeba", disable=None, leave=False)):
        # A grey photograph [H, W] goes into all three channels.
        x[row] = np.atleast_3d(read_image(images / table.files[i], size)).transpose(2, 0, 1)
    return Arrays(x, factors=table.values[index])
