"""The data and labels of a call: placed where the pair's parameters are, and judged by their values once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.containers import Data, Labels, Opened, Rows, dense, is_container, opened
from ppl_vae.data.lost_digits import warn_of_covariates, warn_of_lost_digits
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.coordinate_names import require_same_coordinates
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.labels import Batch, check_labels
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.placement import beside
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.stream import in_one_piece


def admitted(
    pair: PairLike, x: object, y: Array | None = None, least: int = 1, keep_rows: bool = False
) -> tuple[Pair, Batch]:
    """The pair, and what its programs are called with: (x,), or (x, c1, ..., cm) where they take covariates.

    Args:
        pair: whatever ``as_pair`` takes.
        x: data [N, *event_shape]; of a pair that takes covariates a tuple (x, c1, ..., cm) or a dict of named
            arrays (``inference.pair.covariates``).
        y: class labels [N], or the covariate named y; of a pair that takes none they are not looked at.
        least: the fewest data.
        keep_rows: whether a sparse matrix, or an array on disk, may stay ``Rows``, dense where they are cut.

    Returns:
        The pair, whose programs take that batch by position, and the batch.

    Raises:
        ModelError: it is no pair, or the data have another event shape; or it needs more than there is.
        DataError: there are fewer than ``least`` data, some value is outside the likelihood's support, or a
            covariate does not fit; its columns are those of the training data in another order; or data bring a
            y of their own that is another than ``y``.
    """
    pair = as_pair(pair)
    x = in_one_piece(pair, x)
    if isinstance(x, Mapping) and y is not None and "y" not in x:
        x = {**x, "y": y} if Arguments.of(pair).takes("y") else x
    arguments = Arguments.of(pair, x)
    labels = arguments.labels(x)
    require_same_coordinates(pair.model, labels)
    if is_container(y):
        labels.require_same_rows(opened(y).labels, "y")
    _require_one_y(arguments.own_y(x), y)
    first, *given = arguments.parts(x, y)
    pair = arguments.pair
    first = first if keep_rows else dense(first)
    data = pair.place(first)
    if data.dim() == 0 or len(data) == 0:
        raise DataError(f"data are empty: shape {list(data.shape)}")
    check_data(pair.model, data, given[0] if pair.takes_labels and given else None)
    if len(data) < least:
        raise DataError(f"data: expected at least {least}, found shape {list(data.shape)}")
    warn_of_lost_digits(first if isinstance(first, Rows) else to_tensor(first), data.dtype, labels)
    beside = arguments.tensors(given, data, data.dtype)
    warn_of_covariates(given, arguments.names(len(given)), data.dtype, labels)
    judge = traits(pair.model).check_covariates
    if judge is not None:
        judge(*beside)
    return pair, (data, *beside)


def _require_one_y(own: object, y: object) -> None:
    """Refuse a y beside data that bring another one: nobody can tell which is meant."""
    if own is None or y is None:
        return
    first, second = (to_tensor(dense(opened(each).x), "y", "labels [N]").cpu() for each in (own, y))
    if not torch.equal(first.double(), second.double()):
        raise DataError("y: the data bring a y of their own, which is another than y=; give one of the two")


def as_arguments(
    pair: Pair, x: object, further: tuple[object, ...], named: dict[str, object]
) -> tuple[Pair, tuple[object, ...], dict[str, object]]:
    """Give programs called with (x, *further, **named) tensors in the place of arrays and containers.

    Tensors, and arguments that are no data, such as a number or a word, stay as they are.

    Returns:
        The pair, and the arguments of its programs by position and by name.

    Raises:
        ModelError: as of ``admit``, and of ``admitted`` where something is no tensor.
        DataError: likewise.
    """
    parts = (x, *further, *named.values())
    are_data = all(isinstance(part, Tensor) or _holds_numbers(part) for part in parts)
    if all(isinstance(part, Tensor) for part in parts) or not are_data or (further and named):
        return pair, (admit(pair.model, x, *further, **named), *further), named
    beside_x = {Arguments.of(pair).model.data: x, **named} if named else (x, *further)
    pair, batch = admitted(pair, beside_x if further or named else x)
    return pair, batch, {}


def _holds_numbers(part: object) -> bool:
    return is_container(part) or (isinstance(part, np.ndarray) and part.ndim > 0)


def together(batch: Batch, labels: Labels | None = None) -> Data:
    """A batch as it is given to a function of data: x alone if there are no covariates; with names."""
    x = batch[0] if labels is None else Opened(batch[0], labels)
    return x if len(batch) == 1 else (x, *batch[1:])


def check_data(model: Program, x: object, y: object = None, *further: object, **_: object) -> None:
    """Let a model that knows its data's support judge their values, and its covariates', once before work begins.

    Further arguments of its programs, by name, are not looked at.
    """
    judges = traits(model)
    if judges.check_data is not None and isinstance(x, Tensor | Rows):
        for block in x.blocks() if isinstance(x, Rows) else (x,):
            judges.check_data(block)
    check_labels(model, x, y)
    if judges.check_covariates is not None and y is not None:
        judges.check_covariates(y, *further)


def admit(model: Program, x: object, *args: object, **kwargs: object) -> object:
    """Data that a model with a ``check_data`` has judged, where its parameters are; a user's own pass as they are.

    Args:
        model: the generative program.
        x: the data.
        *args: further arguments of the programs; labels are judged with the data.
        **kwargs: likewise.

    Raises:
        ModelError: x has another event shape, or labels are missing.
        DataError: x is empty, or some value is outside the likelihood's support.
    """
    if traits(model).check_data is None:
        return x
    data = beside(model, x)
    check_data(model, data, *args, **kwargs)
    return data
