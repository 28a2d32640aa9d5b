"""The name of an IDX file says where the labels of its images are, and whether the images lie on their side.

train-images-idx3-ubyte    train-labels-idx1-ubyte     MNIST's, also with .idx3 and .gz
emnist-letters-train-images-idx3-ubyte                 EMNIST's (Cohen et al. 2017), whose images are stored
                                                       column by column

Cohen, Afshar, Tapson & van Schaik 2017, https://arxiv.org/abs/1702.05373.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppl_vae.data.idx import read_idx
from ppl_vae.data.locations import first_existing


def labels_beside(path: Path) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Find the labels of an image file by their name, gzipped or not, and the words that say so.

    Raises:
        DataError: the label file is there and damaged.
    """
    name = path.name.removesuffix(".gz")
    other = name.replace("images", "labels").replace("idx3", "idx1")
    if "images" not in name or other == name:
        return None, ()
    found = first_existing(path.with_name(candidate) for candidate in (other, f"{other}.gz"))
    if found is None:
        return None, (f"no labels: {other} is not beside it",)
    return read_idx(found), (f"labels from {found.name}",)


def upright(path: Path, x: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Turn EMNIST's images upright, rows as rows; leave others as they are."""
    if not path.name.lower().startswith("emnist") or x.ndim != 3:
        return x, ()
    return x.transpose(0, 2, 1), ("EMNIST's images, stored column by column, were transposed",)
