"""Four grey images of 3x3 pixels: small enough to enumerate, to plot whole and to overfit in seconds."""

from __future__ import annotations

import torch

from ppl_vae.data.dataset import Dataset, Split

_IMAGES = {
    "cross": ((0.1, 0.9, 0.1), (0.9, 0.9, 0.9), (0.1, 0.9, 0.1)),
    "saltire": ((0.8, 0.0, 0.8), (0.0, 0.8, 0.0), (0.8, 0.0, 0.8)),
    "ring": ((0.7, 0.7, 0.7), (0.7, 0.0, 0.7), (0.7, 0.7, 0.7)),
    "stairs": ((1.0, 0.2, 0.0), (0.6, 1.0, 0.2), (0.3, 0.6, 1.0)),
}


def load_small_images() -> Dataset:
    """Load the four images as [4, 1, 3, 3], labels 0 to 3; train and test are the same four.

    >>> load_small_images().train.y
    tensor([0, 1, 2, 3])
    """
    x = torch.tensor(list(_IMAGES.values())).unsqueeze(1)
    y = torch.arange(len(_IMAGES))
    notes = ("test is the same four images as train", f"labels in order: {', '.join(_IMAGES)}")
    return Dataset("four-small-images", Split(x, y), Split(x.clone(), y.clone()), source="embedded", notes=notes)
