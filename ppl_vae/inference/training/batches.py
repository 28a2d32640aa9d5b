"""Training data: whole tensors on the training device, batches by index, no worker processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ppl_vae.arrays import MISSING_VALUES, is_array, to_tensor
from ppl_vae.data import Dataset, Split, binarize
from ppl_vae.data.split import split_by_datum
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.labels import Batch, arguments, takes_labels
from ppl_vae.inference.pair.protocols import traits
from ppl_vae.randomness import derived_seed

# Streams of random numbers besides the training stream, told apart by a number under the user's seed.
SPLIT_STREAM, BINARIZATION_STREAM, ORDER_STREAM = 1, 2, 3


@dataclass(frozen=True)
class TrainingData:
    """The data that a run is trained, validated and tested on.

    Attributes:
        train: x [N, *event_shape], and y [N] where the programs take labels; None where the user's own ``batches``
            are iterated.
        batches: the user's own batches, iterated anew in every epoch.
        dynamic: whether x is grey and drawn to 0/1 in every batch.
        validation: what chooses the best weights, if anything does: x, or x and y.
        validation_name: in words, for the manifest.
        test: evaluated every epoch, chooses nothing: x, or x and y.
        place: device and dtype of the user's own batches; None leaves them.
        labelled: whether the programs take labels.
        copy_of: which rows of ``train`` are copies of one datum, as of a Split.
        indexed: whether they take the indices of a batch's data, which come last in it (see ``pair.indices``).
    """

    train: Batch | None
    batches: Iterable[Any] | None = None
    dynamic: bool = False
    validation: Batch | None = None
    validation_name: str = "none"
    test: Batch | None = None
    place: tuple[torch.device, torch.dtype] | None = None
    labelled: bool = False
    copy_of: Tensor | None = None
    indexed: bool = False

    @property
    def x(self) -> Tensor | None:
        """The data x [N, *event_shape], or None where the user's own ``batches`` are iterated."""
        return None if self.train is None else self.train[0]

    @property
    def num_total(self) -> int | None:
        """The number of data of an epoch; None where it is not known of the user's own batches."""
        if self.train is not None:
            return len(self.train[0])
        if isinstance(self.batches, DataLoader):
            # Over an iterable data set a loader has no length.
            with contextlib.suppress(TypeError):
                return len(self.batches.dataset)  # type: ignore[arg-type]
        if isinstance(self.batches, list | tuple):
            return sum(len(batch[0] if isinstance(batch, tuple | list) else batch) for batch in self.batches)
        return None

    def example(self, size: int = 2) -> Batch:
        """``size`` data, as the model sees them in training; without a draw from any stream.

        Raises:
            DataError: there is not one batch.
        """
        if self.train is not None:
            x, *labels = (part[:size] for part in self.train)
            rows = (torch.arange(len(x), device=x.device),) if self.indexed else ()
            return x.round() if self.dynamic else x, *labels, *rows
        first = next(self._own_batches(), None)
        if first is None:
            raise DataError("data are empty: there is not one batch")
        return first

    def epoch(self, epoch: int, batch_size: int, seed: int) -> Iterable[Batch]:
        """The batches of one epoch, every datum once, in an order that depends on (seed, epoch) alone.

        One batch of all data keeps their order: programs may hold a parameter or a constant for each datum.

        Raises:
            DataError: the user's own batches are used up.
        """
        if self.x is None:
            return self._some(self._own_batches(), epoch)
        if batch_size >= len(self.x):
            return IndexedBatches(self, self.x, (torch.arange(len(self.x), device=self.x.device),))
        generator = torch.Generator().manual_seed(derived_seed(seed, ORDER_STREAM, epoch))
        order = torch.randperm(len(self.x), generator=generator).to(self.x.device)
        return IndexedBatches(self, self.x, order.split(batch_size))

    def batch(self, x: Tensor, indices: Tensor) -> Batch:
        """Those data of x [B, *event_shape], binarised if that is to be, and their labels."""
        batch, labels = x.index_select(0, indices), (self.train or ())[1:]
        batch_labels = [part.index_select(0, indices) for part in labels]
        rows = (indices,) if self.indexed else ()
        return batch.bernoulli() if self.dynamic else batch, *batch_labels, *rows

    def _own_batches(self) -> Iterator[Batch]:
        # A loader without a length has no truth value either.
        for batch in () if self.batches is None else self.batches:
            given, *more = batch if isinstance(batch, tuple | list) else (batch,)
            x = _tensor(given) if self.place is None else _tensor(given).to(*self.place)
            yield arguments(self.labelled, x, more[0] if more else None, "a batch")

    @staticmethod
    def _some(batches: Iterator[Batch], epoch: int) -> Iterator[Batch]:
        """The same batches, of which there must be one."""
        first = next(batches, None)
        if first is None:
            raise DataError(
                f"data: there is no batch in epoch {epoch}; batches are iterated anew in every epoch, "
                "so their __iter__ must start from the beginning each time"
            )
        yield first
        yield from batches

    def to(self, device: torch.device, dtype: torch.dtype) -> TrainingData:
        """The same on a device, as floats of a dtype."""

        def moved(part: Batch | None) -> Batch | None:
            return None if part is None else (part[0].to(device, dtype), *(y.to(device) for y in part[1:]))

        train, validation, test = (moved(part) for part in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test, place=(device, dtype))


@dataclass(frozen=True)
class IndexedBatches:
    """The batches of one epoch of resident data.

    Attributes:
        data: what they are taken from.
        x: its data, [N, *event_shape].
        indices: which data make each batch.
    """

    data: TrainingData
    x: Tensor
    indices: tuple[Tensor, ...]

    def __iter__(self) -> Iterator[Batch]:
        return (self.data.batch(self.x, indices) for indices in self.indices)


def training_data(data: Any, validation: Any, batch_size: int | None, seed: int, model: Any = None) -> TrainingData:
    """Sort out what the user gave to ``fit``.

    Args:
        data: a Dataset, a Split, a tensor or array [N, *event_shape], a tuple (x, y) of two such for programs that
            take labels, or an iterable of batches.
        validation: None, a fraction of the training data, data in one piece as above, or "test".
        batch_size: checked against the number of data, where one is given.
        seed: of the split.
        model: the generative program, which says whether the pair takes labels, and whether NaN in x stands for a
            missing coordinate; None does neither.

    Raises:
        DataError: empty data, fewer data than a batch, values that are not finite, or labels that do not fit.
        ModelError: ``validation`` is none of the above, or asks for what ``data`` does not have; or labels are
            needed and there are none.
    """
    pieces = _Pieces(takes_labels(model), traits(model).allows_missing)
    if isinstance(data, Dataset):
        dynamic, name = data.binarization == "dynamic", f"data set {data.name!r}"
        train, test = (
            pieces(part, f"{name}, {half} split") for part, half in ((data.train, "train"), (data.test, "test"))
        )
        if dynamic and not ((train[0] >= 0) & (train[0] <= 1)).all():
            raise DataError(f"{name}: values outside [0, 1] cannot be binarised in every batch")
        copies = data.train.copy_of
        training = TrainingData(train, dynamic=dynamic, test=test, labelled=pieces.labelled, copy_of=copies)
    elif pieces.is_one(data):
        train = pieces(data, "the training data")
        training = TrainingData(train, labelled=pieces.labelled, copy_of=getattr(data, "copy_of", None))
    elif isinstance(data, Iterable) and not isinstance(data, Iterator | str):
        _require_anew(data)
        training = TrainingData(None, batches=data, labelled=pieces.labelled)
    else:
        also = "; give torch.utils.data.DataLoader(data, batch_size=...)" if hasattr(data, "__getitem__") else ""
        raise DataError(
            "data must be a Dataset, a tensor, an array or a re-iterable of batches, "
            f"got {type(data).__name__}{also}"
        )
    training = _with_validation(training, validation, seed, pieces)
    if training.x is not None and batch_size is not None and len(training.x) < batch_size:
        raise DataError(f"batch_size {batch_size} is larger than the {len(training.x)} data to train on")
    return training


def _require_anew(batches: Iterable[Any]) -> None:
    """Refuse what gives the same iterator again, as streaming loaders do: the second epoch would be empty."""
    # A DataLoader starts anew, and would start its workers for the question.
    if not isinstance(batches, DataLoader) and iter(batches) is iter(batches):
        raise DataError(
            f"data: {type(batches).__name__} gives the same iterator again, which one epoch uses up; let its "
            "__iter__ start from the beginning each time, or give a list of batches"
        )


def _with_validation(data: TrainingData, validation: Any, seed: int, pieces: _Pieces) -> TrainingData:
    if validation is None:
        return data
    if isinstance(validation, str):
        if validation != "test" or data.test is None:
            raise ModelError(f"validation {validation!r}: the only name is 'test', for a Dataset with a test split")
        return replace(data, validation=data.test, validation_name="test")
    if isinstance(validation, Real):
        return _split(data, float(validation), seed)
    held_out = pieces(validation, "the validation data")
    return replace(data, validation=held_out, validation_name=f"{len(held_out[0])} given data")


def _split(data: TrainingData, fraction: float, seed: int) -> TrainingData:
    if data.train is None or not 0 < fraction < 1:
        raise ModelError(
            f"validation={fraction} needs a fraction between 0 and 1 and data in one tensor; "
            "with batches of your own give the validation data themselves (patience alone takes a fraction of 0.1)"
        )
    count = len(data.train[0])
    size = max(1, round(fraction * count))
    if size >= count:
        raise ModelError(f"validation={fraction} of {count} data leaves none to train on")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derived_seed(seed, SPLIT_STREAM)))
    first, later = split_by_datum(data.train[0], order, size, data.copy_of)
    chosen, *labels = (part[first] for part in data.train)
    if data.dynamic:
        chosen = binarize(
            chosen, "stochastic", generator=torch.Generator().manual_seed(derived_seed(seed, BINARIZATION_STREAM))
        )
    name = f"a random {fraction:g} of the training data ({len(chosen)}), seed {seed}"
    rest = tuple(part[later] for part in data.train)
    return replace(data, train=rest, validation=(chosen, *labels), validation_name=name)


@dataclass(frozen=True)
class _Pieces:
    """Data in one piece, as the programs are given them.

    Attributes:
        labelled: whether they take labels.
        allows_missing: whether NaN stands for a missing coordinate.
    """

    labelled: bool
    allows_missing: bool

    def is_one(self, data: Any) -> bool:
        """Tell whether the data are in one piece, and no iterable of batches."""
        both = self.labelled and isinstance(data, tuple) and len(data) == 2
        if both and (is_array(data[0]) or not isinstance(data[0], tuple | list)):
            return True
        return isinstance(data, Split) or is_array(data)

    def __call__(self, data: Any, where: str) -> Batch:
        """Turn a Split, a tuple (x, y), or x alone into x, or x and y."""
        if isinstance(data, Split):
            data = data.x, data.y
        x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
        return arguments(self.labelled, _finite(_tensor(x), self.allows_missing), y, where)


def _finite(x: Tensor, allows_missing: bool) -> Tensor:
    if x.dim() == 0 or len(x) == 0:
        raise DataError(f"data are empty: shape {list(x.shape)}")
    bad = x.isinf() if allows_missing else ~x.isfinite()
    if bad.any():
        first = bad.nonzero()[0].tolist()
        missing = "" if allows_missing or x.isinf().any() else f"; {MISSING_VALUES}"
        raise DataError(f"data have NaN or infinite values, the first at index {first}{missing}")
    return x


def _tensor(x: Any) -> Tensor:
    """Turn a tensor or array into a tensor that is not differentiated."""
    return to_tensor(x).detach()
