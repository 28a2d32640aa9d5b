"""Training data: whole tensors on the training device, batches by index, no worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data import Dataset, binarize
from ppl_vae.errors import DataError, ModelError
from ppl_vae.randomness import derived_seed

# Streams of random numbers besides the training stream, told apart by a number under the user's seed.
SPLIT_STREAM, BINARIZATION_STREAM, ORDER_STREAM = 1, 2, 3


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained, validated and tested on.

    Attributes:
        x: [N, *event_shape], or None where the user's own ``batches`` are iterated.
        batches: the user's own batches, iterated anew in every epoch.
        dynamic: whether x is grey and drawn to 0/1 in every batch.
        validation: what chooses the best weights, if anything does.
        validation_name: in words, for the manifest.
        test: evaluated every epoch, chooses nothing.
        place: device and dtype of the user's own batches; None leaves them.
    """

    x: Tensor | None
    batches: Iterable[Any] | None = None
    dynamic: bool = False
    validation: Tensor | None = None
    validation_name: str = "none"
    test: Tensor | None = None
    place: tuple[torch.device, torch.dtype] | None = None

    def example(self, size: int = 2) -> Tensor:
        """``size`` data, as the model sees them in training; without a draw from any stream.

        Raises:
            DataError: there is not one batch.
        """
        if self.x is not None:
            return self.x[:size].round() if self.dynamic else self.x[:size]
        first = next(self._own_batches(), None)
        if first is None:
            raise DataError("data are empty: there is not one batch")
        return first

    def epoch(self, epoch: int, batch_size: int, seed: int) -> Iterable[Tensor]:
        """The batches of one epoch, every datum once, in an order that depends on (seed, epoch) alone."""
        if self.x is None:
            return self._own_batches()
        generator = torch.Generator().manual_seed(derived_seed(seed, ORDER_STREAM, epoch))
        order = torch.randperm(len(self.x), generator=generator).to(self.x.device)
        return IndexedBatches(self, self.x, order.split(batch_size))

    def batch(self, x: Tensor, indices: Tensor) -> Tensor:
        """Those data of x [B, *event_shape], binarised if that is to be."""
        batch = x.index_select(0, indices)
        return batch.bernoulli() if self.dynamic else batch

    def _own_batches(self) -> Iterator[Tensor]:
        for batch in self.batches or ():
            x = _tensor(batch[0] if isinstance(batch, tuple | list) else batch)
            yield x if self.place is None else x.to(*self.place)

    def to(self, device: torch.device, dtype: torch.dtype) -> TrainingData:
        """The same on a device, as floats of a dtype."""
        move = {n: t.to(device, dtype) for n in ("x", "validation", "test") if (t := getattr(self, n)) is not None}
        return replace(self, **move, place=(device, dtype))


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

    def __iter__(self) -> Iterator[Tensor]:
        return (self.data.batch(self.x, indices) for indices in self.indices)


def training_data(
    data: Any, validation: Any, batch_size: int | None, seed: int, allows_missing: bool = False
) -> TrainingData:
    """Sort out what the user gave to ``fit``.

    Args:
        data: a Dataset, a tensor or array [N, *event_shape], or an iterable of batches.
        validation: None, a fraction of the training data, a tensor or array, or "test".
        batch_size: checked against the number of data, where one is given.
        seed: of the split.
        allows_missing: whether NaN stands for a missing coordinate.

    Raises:
        DataError: empty data, fewer data than a batch, or values that are not finite.
        ModelError: ``validation`` is none of the above, or asks for what ``data`` does not have.
    """
    if isinstance(data, Dataset):
        dynamic = data.binarization == "dynamic"
        train, test = (_finite(split.x, allows_missing) for split in (data.train, data.test))
        if dynamic and not ((train >= 0) & (train <= 1)).all():
            raise DataError(f"data set {data.name!r}: values outside [0, 1] cannot be binarised in every batch")
        found = TrainingData(train, dynamic=dynamic, test=test)
    elif isinstance(data, Tensor | np.ndarray):
        found = TrainingData(_finite(_tensor(data), allows_missing))
    elif isinstance(data, Iterable) and not isinstance(data, Iterator | str):
        found = TrainingData(None, batches=data)
    else:
        raise DataError(
            f"data must be a Dataset, a tensor, an array or a re-iterable of batches, got {type(data).__name__}"
        )
    found = _with_validation(found, validation, seed, allows_missing)
    if found.x is not None and batch_size is not None and len(found.x) < batch_size:
        raise DataError(f"batch_size {batch_size} is larger than the {len(found.x)} data there are to train on")
    return found


def _with_validation(data: TrainingData, validation: Any, seed: int, allows_missing: bool) -> TrainingData:
    if validation is None:
        return data
    if isinstance(validation, str):
        if validation != "test" or data.test is None:
            raise ModelError(f"validation {validation!r}: a name can only be 'test', of a Dataset that has one")
        return replace(data, validation=data.test, validation_name="test")
    if isinstance(validation, float | int):
        return _split(data, validation, seed)
    held_out = _finite(_tensor(validation), allows_missing)
    return replace(data, validation=held_out, validation_name=f"{len(held_out)} given data")


def _split(data: TrainingData, fraction: float, seed: int) -> TrainingData:
    if data.x is None or not 0 < fraction < 1:
        raise ModelError(f"validation={fraction} needs a fraction between 0 and 1 and data in one tensor")
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(derived_seed(seed, SPLIT_STREAM)))
    size = max(1, round(fraction * len(data.x)))
    held_out = data.x[order[:size]]
    if data.dynamic:
        held_out = binarize(
            held_out, "stochastic", generator=torch.Generator().manual_seed(derived_seed(seed, BINARIZATION_STREAM))
        )
    name = f"a random {fraction:g} of the training data ({size}), seed {seed}"
    return replace(data, x=data.x[order[size:]], validation=held_out, validation_name=name)


def _finite(x: Tensor, allows_missing: bool) -> Tensor:
    if x.dim() == 0 or len(x) == 0:
        raise DataError(f"data are empty: shape {list(x.shape)}")
    bad = x.isinf() if allows_missing else ~x.isfinite()
    if bad.any():
        first = bad.nonzero()[0].tolist()
        raise DataError(f"data have NaN or infinite values, the first at index {first}")
    return x


def _tensor(x: Any) -> Tensor:
    """A tensor or array as a tensor that is not differentiated; a read-only array is copied."""
    try:
        return torch.as_tensor(np.require(x, requirements="W") if isinstance(x, np.ndarray) else x).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"data must be numbers: {error}") from None
