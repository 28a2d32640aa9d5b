"""Training data: whole tensors on the training device, batches by index, no worker processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ppl_vae.containers import Labels
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.reseeding import noise_kept
from ppl_vae.inference.pair.stream import batches_of
from ppl_vae.inference.training.pieces import Pieces
from ppl_vae.randomness import derived_seed

# Streams of random numbers besides the training stream, told apart by a number under the user's seed.
SPLIT_STREAM, BINARIZATION_STREAM, ORDER_STREAM = 1, 2, 3
_NO_MORE = object()


@dataclass(frozen=True)
class TrainingData:
    """The data that a run is trained, validated and tested on.

    Attributes:
        train: x [N, *event_shape], and what the programs take beside x [N, ...]; None where the user's own
            ``batches`` are iterated.
        batches: the user's own batches, iterated anew in every epoch.
        dynamic: whether x is grey and drawn to 0/1 in every batch.
        validation: what chooses the best weights, if anything does: as ``train``, or batches of the user's own.
        validation_name: in words, for the manifest.
        test: evaluated every epoch, chooses nothing: as ``train``.
        place: device and dtype of the user's own batches; None leaves them.
        pieces: the rule by which a batch of the user's own is taken apart.
        names: of what the programs take beside x; "labels" is y of a pair that takes labels.
        labels: the names of the rows and coordinates of x.
        copy_of: which rows of ``train`` are copies of one datum, as of a Split.
        indexed: whether they take the indices of a batch's data, which come last in it (see ``pair.indices``).
    """

    train: Batch | None
    batches: Iterable[object] | None = None
    dynamic: bool = False
    validation: Batch | Iterable[object] | None = None
    validation_name: str = "none"
    test: Batch | None = None
    place: tuple[torch.device, torch.dtype] | None = None
    pieces: Pieces | None = None
    names: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels)
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
            return sum(len(x) for x, *_ in self._own_batches())
        return None

    def example(self, size: int = 2) -> Batch:
        """``size`` data, as the model sees them in training; without a draw from any stream.

        Raises:
            DataError: there is not one batch.
        """
        if self.train is not None:
            x, *given = (part[:size] for part in self.train)
            rows = (torch.arange(len(x), device=x.device),) if self.indexed else ()
            return x.round() if self.dynamic else x, *given, *rows
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
        """Those data of x [B, *event_shape], binarised if that is to be, and what belongs to them."""
        batch, given = x.index_select(0, indices), (self.train or ())[1:]
        beside = [part.index_select(0, indices) for part in given]
        rows = (indices,) if self.indexed else ()
        return batch.bernoulli() if self.dynamic else batch, *beside, *rows

    def _own_batches(self) -> Iterator[Batch]:
        # A loader without a length has no truth value either.
        for batch in () if self.batches is None else with_noise_of_the_run(batches_of(self.batches)):
            assert self.pieces is not None
            yield self.pieces.batch(batch, self.place)

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
            return None if part is None else (part[0].to(device, dtype), *(moved_beside(c) for c in part[1:]))

        def moved_beside(c: Tensor) -> Tensor:
            return c.to(device, dtype if c.is_floating_point() else c.dtype)

        train, test = moved(self.train), moved(self.test)
        validation = moved(self.validation) if isinstance(self.validation, tuple) else self.validation
        return replace(self, train=train, validation=validation, test=test, place=(device, dtype))


def with_noise_of_the_run(batches: Iterator[object]) -> Iterator[object]:
    """The same batches; a data set may seed torch, as one does that augments by ``manual_seed(index)``."""
    while True:
        with noise_kept():
            batch = next(batches, _NO_MORE)
        if batch is _NO_MORE:
            return
        yield batch


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

    def part(self, start: int, stop: int | None = None) -> IndexedBatches:
        """Some of the batches, one after the other."""
        return IndexedBatches(self.data, self.x, self.indices[start:stop])
