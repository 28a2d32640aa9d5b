"""Class labels beside the data: which pairs take them, and what they must look like.

A generative program with the attribute ``takes_labels = True`` is called as model(x, y), and so is its guide; y
is int64 [N], -1 where a label is missing. Two more attributes say what y may be, where the program has them:
``num_classes``, and ``allows_missing_labels``. Other pairs never see the labels of their data.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.protocols import Program, traits

MISSING = -1
# What both programs are called with: (x,), or (x, y).
Batch = tuple[Tensor, ...]


def takes_labels(model: Program) -> bool:
    """Tell whether the two programs are called as model(x, y) and guide(x, y)."""
    return bool(traits(model).takes_labels)


def needs_labels(model: Program) -> bool:
    """Tell whether they take labels of which none may be missing."""
    return takes_labels(model) and not traits(model).allows_missing_labels


def needed_labels(model: Program, y: Array | None) -> Array | None:
    """The labels y for a pair that needs them; None for others, whose numbers are then of log p(x)."""
    return y if needs_labels(model) else None


def arguments(labelled: bool, x: Tensor, y: object, where: str = "the data") -> Batch:
    """The arguments of the programs: x and its labels where they take labels, x alone where they do not.

    Args:
        labelled: whether they take labels.
        x: [N, *event_shape].
        y: [N], integers of any type, or None.
        where: what x is, for an error.

    Raises:
        ModelError: labels are needed and there are none.
        DataError: they are no integers, or not as many as the data.
    """
    if not labelled:
        return (x,)
    if y is None:
        raise ModelError(
            f"this model takes labels: expected y, integers [N], beside x, but {where} came without any"
        )
    # A label under a mask is a missing one.
    y = y.filled(MISSING) if isinstance(y, np.ma.MaskedArray) and y.dtype.kind in "iu" else y
    # torch has few operations on the larger unsigned types, and as data they become floats.
    if isinstance(y, np.ndarray) and y.dtype.kind == "u" and y.max(initial=0) < 2**63:
        y = y.astype(np.int64)
    labels = to_tensor(y, f"y of {where}", "integers [N]").detach()
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(
            f"y of {where}: expected integers [N], found {labels.dtype}; give whole numbers, as of y.astype(int), "
            f"{MISSING} for a missing one"
        )
    if tuple(labels.shape) != (len(x),):
        raise DataError(f"y of {where}: expected one label for each of {len(x)} data, found {list(labels.shape)}")
    return x, labels.to(x.device, torch.int64)


def with_labels(model: Program, x: Tensor, y: object) -> Batch:
    """``arguments`` outside training, where a model that allows missing labels may be asked about x alone."""
    return (x,) if y is None and not needs_labels(model) else arguments(takes_labels(model), x, y)


def check_labels(model: Program, x: object, y: object = None) -> None:
    """Judge labels by their values, once before work begins; of a model that takes none, nothing is judged.

    Raises:
        ModelError: the model needs labels and there are none.
        DataError: a label is no class of the model, or is missing where none may be.
    """
    if not takes_labels(model) or (y is None and not needs_labels(model)):
        return
    _, labels = arguments(True, cast(Tensor, x), y)
    num_classes = traits(model).num_classes
    low = labels.min().item() if len(labels) else 0
    if low == MISSING and needs_labels(model):
        missing = int((labels == MISSING).sum())
        raise DataError(f"y: {missing} of {len(labels)} labels are missing (-1), and this model needs them all")
    high = labels.max().item() if len(labels) else 0
    if low < MISSING or (num_classes is not None and high >= num_classes):
        bound = "0 or above" if num_classes is None else f"0, ..., {num_classes - 1}"
        raise DataError(f"y: expected labels {bound}, found values from {low} to {high}")
