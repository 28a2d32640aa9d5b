"""dSprites (Matthey et al., 2017): a white shape on black, every combination of six factors.

The original archive holds 737,280 images and a pickled member of metadata. The latter is never read: what
it says is written here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppl_vae.data.dataset import Dataset
from ppl_vae.data.locations import ENVIRONMENT_VARIABLE, environment_root, first_existing, folders_under
from ppl_vae.data.npz import read_npz
from ppl_vae.data.split import SPLIT_NOTE, split_indices, subset_indices, subset_notes
from ppl_vae.data.tensors import Arrays, to_split
from ppl_vae.errors import DataError

FILE_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
_FACTORS = ("color", "shape", "scale", "orientation", "posX", "posY")
_MEMBERS = ("imgs", "latents_values", "latents_classes")


def load_dsprites(*, root: str | Path | None = None, limit: int | None = None) -> Dataset:
    """Load images [N, 1, 64, 64] of zeros and ones, the shape's number as label, and the six factors' values.

    The whole of it takes about 16 GB of memory; with a limit of 50,000 images it is about 5 GB while the
    archive is read and 1 GB after.

    Args:
        root: the .npz file, or the folder that holds it, itself or in a subfolder ``dsprites``;
            by default the folder that PPL_VAE_DATA names.
        limit: at most this many images, drawn at random under a fixed seed.

    Raises:
        DataError: the file is missing or damaged, or its arrays do not fit each other.
    """
    path = _find(root)
    members = read_npz(path, _MEMBERS)
    images, values, classes = (members[name] for name in _MEMBERS)
    _check(path, images, values, classes)
    chosen = subset_indices(len(images), limit)
    indices = [chosen[part] for part in split_indices(len(chosen), path)]
    whole = Arrays(images, classes[:, 1], values)
    train, test = (to_split(whole[index], path) for index in indices)
    notes = (*subset_notes(len(images), len(chosen)), SPLIT_NOTE, "labels in order: square, ellipse, heart")
    # The archive's own pixels are zeros and ones: the authors drew them without grey edges.
    return Dataset("dsprites", train, test, _FACTORS, "threshold", f"file {path}", notes)


def _find(root: str | Path | None) -> Path:
    base = environment_root() if root is None else Path(root)
    if base is None:
        raise DataError(
            f"dsprites: expected root= or {ENVIRONMENT_VARIABLE} to name the folder of {FILE_NAME}, found "
            "neither; the file is at https://github.com/google-deepmind/dsprites-dataset"
        )
    candidates = [base] if base.suffix == ".npz" else [f / FILE_NAME for f in folders_under(base, ("dsprites",))]
    if path := first_existing(candidates):
        return path
    raise DataError(f"dsprites: expected one of the files {', '.join(map(str, candidates))}, found none of them")


def _check(path: Path, images: np.ndarray, values: np.ndarray, classes: np.ndarray) -> None:
    if images.ndim != 3 or images.dtype != np.uint8:
        raise DataError(f"{path}: expected imgs as uint8 [N, H, W], found {images.dtype} {images.shape}")
    shape = (len(images), len(_FACTORS))
    for name, array in (("latents_values", values), ("latents_classes", classes)):
        if array.shape != shape:
            raise DataError(f"{path}: expected {name} of shape {shape}, found {array.shape}")
    if images.max() > 1:
        raise DataError(f"{path}: expected imgs of zeros and ones, found the value {images.max()}")
