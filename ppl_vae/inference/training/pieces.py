"""Data in one piece, and batches of the user's own, taken apart into the arguments of a pair's programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import Tensor

from ppl_vae.arrays import MISSING_VALUES, all_finite, is_array, to_tensor
from ppl_vae.containers import Labels, Rows, dense, is_container, opened
from ppl_vae.data import Split
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.coordinate_names import remember_coordinates, require_same_coordinates
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.labels import arguments as require_labels
from ppl_vae.inference.pair.pair import Pair
from ppl_vae.inference.pair.protocols import traits

# Data as functions of a pair take them: x, x with what stands beside it, or a dict by name.
Given: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


@dataclass(frozen=True)
class Pieces:
    """The rule by which data become (x, c1, ..., cm).

    Attributes:
        arguments: what the pair's programs may be given.
        allows_missing: whether NaN stands for a missing coordinate.
    """

    arguments: Arguments
    allows_missing: bool = False

    @classmethod
    def of(cls, pair: Pair, example: object = None) -> Pieces:
        """The rule for a pair and data of this kind."""
        return cls(Arguments.of(pair, example), traits(pair.model).allows_missing)

    @property
    def takes_more(self) -> bool:
        """Tell whether the programs may be given anything beside x."""
        return self.arguments.takes_more

    def names(self, count: int) -> tuple[str, ...]:
        """Name what stands beside x; "labels" is y of a pair that takes labels."""
        own = self.arguments.names(count)
        return ("labels", *own[1:]) if own and self.arguments.pair.takes_labels else own

    def is_one(self, data: object) -> bool:
        """Tell whether the data are in one piece, and no iterable of batches."""
        if isinstance(data, tuple) and len(data) > 1 and self.takes_more:
            return is_container(data[0]) or is_array(data[0]) or not isinstance(data[0], tuple | list)
        return isinstance(data, Split | Mapping | Rows) or is_container(data) or is_array(data)

    def __call__(self, data: object, where: str, labels: Labels | None = None) -> Batch:
        """Take a Split, a tuple, a dict, or x alone apart, and judge the values; ``labels`` are a Split's names."""
        data = opened(data) if is_container(data) else data
        x, *given = self._parts(data)
        first = cast(Tensor, x) if isinstance(x, Rows) else tensor(x)
        labels = labels or self.arguments.labels(data)
        require_same_coordinates(self.arguments.pair.model, labels)
        _require_finite(first, self.allows_missing, labels)
        return (first, *self._beside(given, first, where))

    def batch(self, batch: object, place: tuple[torch.device, torch.dtype] | None) -> Batch:
        """Take a batch of the user's own apart, where the pair is; what its programs do not take is left out."""
        data = self.arguments.in_batch(batch)
        # The first batch of the first epoch says in which order the columns stand.
        labels, model = self.arguments.labels(data), self.arguments.pair.model
        require_same_coordinates(model, labels)
        remember_coordinates(model, labels)
        x, *given = self._parts(data)
        whole = dense(x) if isinstance(x, Rows) else tensor(x)
        first = whole if place is None else whole.to(*place)
        return (first, *self._beside(given, first, "a batch", None if place is None else place[1]))

    def _parts(self, data: object) -> tuple[object, ...]:
        if isinstance(data, Split):
            data = named(data, self.arguments)
        return self.arguments.parts(data)

    def _beside(
        self, given: list[object], x: Tensor, where: str, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, ...]:
        if self.arguments.pair.takes_labels and not given:
            # Training needs them, also where a trained pair may be asked about x alone.
            require_labels(True, x, None, where)
        return self.arguments.tensors(given, x, dtype, where)


def named(split: Split, arguments: Arguments) -> Given:
    """The parts of a Split that the programs take: x, (x, y) for a pair that takes labels, or a dict by name."""
    if arguments.pair.takes_labels:
        return split.x if split.y is None else (split.x, split.y)
    beside = {**({} if split.y is None else {"y": split.y}), **split.covariates}
    taken = {name: c for name, c in beside.items() if arguments.takes(name)}
    return {arguments.model.data: split.x, **taken} if taken else split.x


def tensor(x: object) -> Tensor:
    """Turn a tensor or array into a tensor that is not differentiated."""
    return to_tensor(x).detach()


def _require_finite(x: Tensor | Rows, allows_missing: bool, labels: Labels) -> None:
    if x.dim() == 0 or len(x) == 0 or not x.numel():
        raise DataError(f"data are empty: shape {list(x.shape)}")
    first = 0
    for block in x.blocks() if isinstance(x, Rows) else (x,):
        bad = None if all_finite(block) else block.isinf() if allows_missing else ~block.isfinite()
        if bad is not None and bad.any():
            row, *place = bad.nonzero()[0].tolist()
            missing = "" if allows_missing or block.isinf().any() else f"; {MISSING_VALUES}"
            at = labels.at([first + row, *place])
            raise DataError(f"data have NaN or infinite values, the first at {at}{missing}")
        first += len(block)
