"""The 8x8 digits that come with scikit-learn: 1797 images in 17 greys (Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import torch

from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.split import SPLIT_NOTE, split_in_two


def load_digits() -> Dataset:
    """Load grey images [N, 1, 8, 8] in [0, 1] (sixteenths) with labels 0 to 9; nothing is downloaded.

    >>> load_digits().event_shape
    (1, 8, 8)
    """
    # Here, because it takes as long to import as torch, and most uses of the package never need it.
    from sklearn.datasets import load_digits as read_digits

    images, labels = read_digits(return_X_y=True)
    x = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16
    y = torch.from_numpy(labels).long()
    train, test = split_in_two(Split(x, y), "digits")
    return Dataset("digits", train, test, source="embedded in scikit-learn", notes=(SPLIT_NOTE,))
