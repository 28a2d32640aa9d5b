"""The one rule by which a data set without a test set of its own is split: 90/10, always the same."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from ppl_vae.containers import Rows
from ppl_vae.data.dataset import Split
from ppl_vae.errors import DataError

_SEED = 0

#: The rule in words, for `Dataset.notes`.
SPLIT_NOTE = f"split at random into 90% train and 10% test under the fixed seed {_SEED}"


def split_indices(count: int, where: object) -> tuple[np.ndarray, np.ndarray]:
    """Draw the indices of the training and the test data, each in ascending order.

    The split depends on the count alone: no option moves it, so that no test datum of one run is
    a training datum of another.

    Args:
        count: how many data there are.
        where: the file, for the message.

    Raises:
        DataError: fewer than two data.

    >>> train, test = split_indices(20, "example")
    >>> len(train), len(test)
    (18, 2)
    """
    if count < 2:
        raise DataError(f"{where}: expected at least 2 data to split into train and test, found {count}")
    order = np.random.default_rng(_SEED).permutation(count)
    held_out = max(1, round(count / 10))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def split_in_two(whole: Split, where: object) -> tuple[Split, Split]:
    """The training and the test part of a split, by `split_indices`.

    Raises:
        DataError: fewer than two data.
    """
    train, test = (torch.from_numpy(index) for index in split_indices(len(whole), where))
    return take_rows(whole, train), take_rows(whole, test)


def take_rows(whole: Split, index: torch.Tensor) -> Split:
    """The rows of a split that an index names, with all that belongs to them."""
    y, factors, copy_of = (None if p is None else p[index] for p in (whole.y, whole.factors, whole.copy_of))
    names = None if whole.names is None else whole.names[index.numpy()]
    return Split(whole.x[index], y, factors, copy_of, {n: c[index] for n, c in whole.covariates.items()}, names)


def split_by_datum(x: Tensor, order: Tensor, size: int, copy_of: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Choose the data that are held out, so that no datum is on both sides.

    Copies go together, to the side of the first of them: those that ``copy_of`` names, else rows of equal bytes.
    Where fewer than half of the rows differ, equal rows are what discrete data are made of and no copies: then each
    row stands for itself.

    Args:
        x: [N, *event_shape].
        order: a permutation of the N rows; whose first are held out.
        size: how many rows are to be held out; a few more where the last have copies.
        copy_of: equal numbers for copies of one datum [N].

    Raises:
        DataError: all rows are copies of one datum.
    """
    group = _groups(x) if copy_of is None else copy_of.cpu().numpy()
    if group is None:
        return order[:size], order[size:]
    _, first, label, count = np.unique(
        group[order.cpu().numpy()], return_index=True, return_inverse=True, return_counts=True
    )
    ranked = first.argsort()
    number = min(int(np.searchsorted(count[ranked].cumsum(), size)) + 1, len(ranked) - 1)
    if number < 1:
        raise DataError("data are copies of one datum: none can be held out")
    chosen = torch.from_numpy(np.isin(label, ranked[:number]))
    return order[chosen], order[~chosen]


def _groups(x: Tensor) -> np.ndarray | None:
    """Give rows of equal bytes equal numbers [N]; None where all differ, or fewer than half do."""
    seen: dict[bytes, int] = {}
    numbers: list[int] = []
    for block in x.blocks() if isinstance(x, Rows) else (x,):
        rows = block.detach().cpu().reshape(len(block), -1).contiguous().view(torch.uint8).numpy()
        numbers += [seen.setdefault(blake2b(row.data, digest_size=16).digest(), len(seen)) for row in rows]
    return None if len(seen) == len(numbers) or 2 * len(seen) < len(numbers) else np.array(numbers)


def subset_indices(count: int, limit: int | None) -> np.ndarray:
    """Draw indices of at most ``limit`` data at random under a fixed seed, in ascending order.

    Raises:
        DataError: the limit is not a whole number above 0.
    """
    if limit is None:
        return np.arange(count)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise DataError(f"limit: expected a whole number above 0 or None, found {limit!r}")
    return np.sort(np.random.default_rng(_SEED).permutation(count)[:limit])


def subset_notes(count: int, chosen: int) -> tuple[str, ...]:
    """Say in `Dataset.notes` that a limit took effect."""
    if chosen == count:
        return ()
    return (f"{chosen} of {count} images, drawn at random under the fixed seed {_SEED}",)
