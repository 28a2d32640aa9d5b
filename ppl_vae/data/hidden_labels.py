"""Hide the labels of most of the data, so that semi-supervised learning can be tried on them."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.errors import DataError
from ppl_vae.renamed import by_keyword

MISSING = -1


@overload
def hide_labels(data: Dataset, num_labelled: int, *, seed: int = 0) -> Dataset: ...


@overload
def hide_labels(data: Split, num_labelled: int, *, seed: int = 0) -> Split: ...


@by_keyword("seed")
def hide_labels(data: Dataset | Split, num_labelled: int, *, seed: int = 0) -> Dataset | Split:
    """Keep the labels of few data, equally many of every class drawn at random; the others become -1.

    Only training labels of a data set are hidden; those of the test split stay, for evaluation.

    Args:
        data: with labels 0, 1, ...; what is -1 already stays hidden.
        num_labelled: how many labels stay, over all classes.
        seed: which they are.

    Raises:
        DataError: there are no labels, ``num_labelled`` is no multiple of the number of classes, or a class has
            fewer data than its share.

    >>> y = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> hide_labels(Split(torch.zeros(6, 2), y), 2).y.tolist()
    [-1, -1, 0, -1, -1, 1]
    """
    if isinstance(data, Dataset):
        note = f"{num_labelled} of {len(data.train)} training labels are known, as many of every class, seed {seed}"
        return replace(data, train=hide_labels(data.train, num_labelled, seed=seed), notes=(*data.notes, note))
    return replace(data, y=_hidden(_labels_of("hide_labels", data), num_labelled, seed))


@overload
def repeat_labelled(data: Dataset, times: int) -> Dataset: ...


@overload
def repeat_labelled(data: Split, times: int) -> Split: ...


def repeat_labelled(data: Dataset | Split, times: int) -> Dataset | Split:
    """Repeat every labelled training datum ``times`` times, so that few labels are in many batches.

    Bounds and cross entropies of labelled data then weigh that much more. ``copy_of`` says which rows are copies,
    so that ``fit`` holds out a datum with all of them or not at all.

    Args:
        data: with labels, -1 where one is missing.
        times: at least 1.

    Raises:
        DataError: there are no labels, or ``times`` is no whole number above 0.

    >>> repeat_labelled(Split(torch.zeros(3, 2), torch.tensor([-1, 1, -1])), 3).y.tolist()
    [-1, 1, -1, 1, 1]
    """
    if isinstance(data, Dataset):
        note = f"every labelled training datum stands {times} times in the data"
        return replace(data, train=repeat_labelled(data.train, times), notes=(*data.notes, note))
    y = _labels_of("repeat_labelled", data)
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise DataError(f"times: expected a whole number above 0, found {times!r}")
    again = (y != MISSING).nonzero().squeeze(1).repeat(times - 1)
    index = torch.cat([torch.arange(len(data)), again])
    origin = index if data.copy_of is None else data.copy_of[index]
    factors = None if data.factors is None else data.factors[index]
    names = None if data.names is None else data.names[index.numpy()]
    return Split(data.x[index], y[index], factors, origin, {n: c[index] for n, c in data.covariates.items()}, names)


def _labels_of(name: str, data: Split) -> Tensor:
    if not isinstance(data, Split):
        raise DataError(f"{name}: expected a Dataset or a Split, found {type(data).__name__}; give Split(x, y)")
    if data.y is None:
        raise DataError(f"{name}: expected data with labels, found none")
    return data.y


def _hidden(y: Tensor, num_labelled: int, seed: int) -> Tensor:
    classes = y[y != MISSING].unique().tolist()
    whole = isinstance(num_labelled, int) and not isinstance(num_labelled, bool)
    if not whole or num_labelled < 1 or not classes or num_labelled % len(classes):
        raise DataError(f"num_labelled: expected a multiple of the {len(classes)} classes, found {num_labelled!r}")
    share, generator, left = num_labelled // len(classes), np.random.default_rng(seed), torch.full_like(y, MISSING)
    for c in classes:
        members = (y == c).nonzero().squeeze(1)
        if len(members) < share:
            raise DataError(f"num_labelled: class {c} has {len(members)} data, its share would be {share}")
        left[members[torch.from_numpy(generator.permutation(len(members))[:share])]] = c
    return left
