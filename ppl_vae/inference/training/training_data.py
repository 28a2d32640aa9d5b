"""The data that the user gave to ``fit``, sorted out: training data, validation data and test data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader

from ppl_vae.containers import is_container, opened, some_of
from ppl_vae.data import Dataset, Split, binarize
from ppl_vae.data.split import split_by_datum
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.pair import Pair
from ppl_vae.inference.pair.stream import is_stream
from ppl_vae.inference.training.batches import BINARIZATION_STREAM, SPLIT_STREAM, TrainingData
from ppl_vae.inference.training.pieces import Pieces
from ppl_vae.inference.training.same_levels import require_same_levels
from ppl_vae.randomness import derived_seed


def training_data(
    data: object, validation: object, batch_size: int | None, seed: int, pieces: Pieces | None = None
) -> TrainingData:
    """Sort out what the user gave to ``fit``.

    Args:
        data: a Dataset, a Split, a tensor or array [N, *event_shape], for programs that take covariates a tuple
            (x, c1, ..., cm) or a dict of named arrays, or an iterable of batches.
        validation: None, a fraction of the training data, data in one piece as above, or "test".
        batch_size: checked against the number of data, where one is given.
        seed: of the split.
        pieces: the rule of the pair by which data are taken apart; None takes x alone.

    Raises:
        DataError: empty data, fewer data than a batch, values that are not finite, or labels that do not fit.
        ModelError: ``validation`` is none of the above, or asks for what ``data`` does not have; or labels are
            needed and there are none.
    """
    data = opened(data) if is_container(data) else data
    pieces = pieces or Pieces(Arguments.of(Pair(_of_x, _of_x)))
    if isinstance(data, Dataset):
        dynamic, name = data.binarization == "dynamic", f"data set {data.name!r}"
        require_same_levels(pieces.arguments.pair.model, data)
        train, test = (
            pieces(part, f"{name}, {half} split", data.labels(part))
            for part, half in ((data.train, "train"), (data.test, "test"))
        )
        if dynamic and not ((train[0] >= 0) & (train[0] <= 1)).all():
            raise DataError(f"{name}: values outside [0, 1] cannot be binarised in every batch")
        copies, labels = data.train.copy_of, data.labels(data.train)
        training = TrainingData(train, dynamic=dynamic, test=test, labels=labels, copy_of=copies)
    elif pieces.is_one(data):
        train = pieces(data, "the training data")
        labels = pieces.arguments.labels(data)
        training = TrainingData(train, labels=labels, copy_of=data.copy_of if isinstance(data, Split) else None)
    elif isinstance(data, Iterable) and not isinstance(data, Iterator | str):
        _require_anew(data)
        training = TrainingData(None, batches=data)
    else:
        also = "; give torch.utils.data.DataLoader(data, batch_size=...)" if isinstance(data, MapStyle) else ""
        raise DataError(
            "data must be a Dataset, a tensor, an array or a re-iterable of batches, "
            f"got {type(data).__name__}{also}"
        )
    names = () if training.train is None else pieces.names(len(training.train) - 1)
    training = _with_validation(replace(training, pieces=pieces, names=names), validation, seed, pieces)
    if training.x is not None and batch_size is not None and len(training.x) < batch_size:
        raise DataError(f"batch_size {batch_size} is larger than the {len(training.x)} data to train on")
    return training


@runtime_checkable
class MapStyle(Protocol):
    """A data set that gives one datum for an index, as torch's map-style ones do."""

    def __getitem__(self, index: int) -> object: ...


def _of_x(x: object) -> None:
    """A program of x alone."""


def _require_anew(batches: Iterable[object]) -> None:
    """Refuse what gives the same iterator again, as streaming loaders do: the second epoch would be empty."""
    # A DataLoader starts anew, and would start its workers for the question.
    if not isinstance(batches, DataLoader) and iter(batches) is iter(batches):
        raise DataError(
            f"data: {type(batches).__name__} gives the same iterator again, which one epoch uses up; let its "
            "__iter__ start from the beginning each time, or give a list of batches"
        )


def _with_validation(data: TrainingData, validation: object, seed: int, pieces: Pieces) -> TrainingData:
    if validation is None:
        return data
    if isinstance(validation, str):
        if validation != "test" or data.test is None:
            raise ModelError(f"validation {validation!r}: the only name is 'test', for a Dataset with a test split")
        return replace(data, validation=data.test, validation_name="test")
    if isinstance(validation, Real):
        return _split(data, float(validation), seed)
    if is_stream(validation) and not pieces.is_one(validation):
        _require_anew(validation)
        return replace(data, validation=validation, validation_name="batches of the user's own")
    held_out = pieces(validation, "the validation data")
    return replace(data, validation=held_out, validation_name=f"{len(held_out[0])} given data")


def _split(data: TrainingData, fraction: float, seed: int) -> TrainingData:
    if data.train is None or not 0 < fraction < 1:
        raise ModelError(
            f"validation={fraction} needs a fraction between 0 and 1 and data in one tensor; "
            "with batches of your own give the validation data themselves, in one piece or as batches (patience "
            "alone takes a fraction of 0.1)"
        )
    count = len(data.train[0])
    size = max(1, round(fraction * count))
    if size >= count:
        raise ModelError(f"validation={fraction} of {count} data leaves none to train on")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derived_seed(seed, SPLIT_STREAM)))
    first, later = split_by_datum(data.train[0], order, size, data.copy_of)
    chosen, *given = (some_of(part, first) for part in data.train)
    if data.dynamic:
        chosen = binarize(
            chosen, "stochastic", generator=torch.Generator().manual_seed(derived_seed(seed, BINARIZATION_STREAM))
        )
    name = f"a random {fraction:g} of the training data ({len(chosen)}), seed {seed}"
    rest = tuple(some_of(part, later) for part in data.train)
    return replace(data, train=rest, validation=(chosen, *given), validation_name=name)
