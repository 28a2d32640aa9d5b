"""The modalities of a datum: consecutive blocks of one array along one axis, each with a name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.errors import DataError, ModelError

ModalitySpec = int | Mapping[str, int]


@dataclass(frozen=True)
class Modalities:
    """How a datum of shape ``event_shape`` is cut into modalities.

    Attributes:
        event_shape: of the whole datum.
        sizes: by name, the length of each along the axis.
        axis: of the datum, counted from the right: -2, the rows, of images; -1 of vectors.
    """

    event_shape: tuple[int, ...]
    sizes: Mapping[str, int]
    axis: int

    @classmethod
    def of(cls, event_shape: tuple[int, ...], modalities: ModalitySpec) -> Modalities:
        """The modalities of a number, equal blocks "x1", "x2", ..., or of sizes by name.

        Raises:
            ModelError: there are fewer than two, or their sizes do not add up to the axis.
        """
        axis = -1 if len(event_shape) == 1 else -2
        length = event_shape[axis]
        if isinstance(modalities, Mapping):
            sizes = {str(name): integer(f"the size of modality {name!r}", n) for name, n in modalities.items()}
        else:
            number = integer("modalities", modalities, least=2)
            sizes = {f"x{m + 1}": length // number for m in range(number)}
        if len(sizes) < 2 or sum(sizes.values()) != length:
            where = "rows" if axis == -2 else "columns"
            raise ModelError(
                f"modalities: expected two or more whose sizes add up to the {length} {where} of {event_shape}, "
                f"got {dict(sizes) if isinstance(modalities, Mapping) else modalities}"
            )
        if "z" in sizes:
            raise ModelError("modalities: 'z' is the name of the latent site")
        return cls(event_shape, sizes, axis)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names in order."""
        return tuple(self.sizes)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The event shape of each by name."""
        shape, at = list(self.event_shape), len(self.event_shape) + self.axis
        return {name: (*shape[:at], size, *shape[at + 1 :]) for name, size in self.sizes.items()}

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """The parts [..., *shape] of data [..., *event_shape], as views."""
        return dict(zip(self.sizes, x.split(list(self.sizes.values()), self.axis), strict=True))

    def present(self, x: Tensor) -> Tensor:
        """Tell which modalities of data [N, *event_shape] have any value that is not NaN: [N, M]."""
        return torch.stack([~part.isnan().flatten(1).all(1) for part in self.split(x).values()], 1)

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Whole data [N, *event_shape] of the parts that are there, NaN for the others.

        Raises:
            DataError: there is none, a name is unknown, or a part has another shape or length than it should.
        """
        unknown = [name for name in parts if name not in self.sizes]
        if unknown or not parts:
            raise DataError(f"modalities are {', '.join(map(repr, self.sizes))}, found {list(parts) or 'none'}")
        first = next(iter(parts.values()))
        whole = []
        for name, shape in self.shapes.items():
            part = parts.get(name)
            part = first.new_full((len(first), *shape), torch.nan) if part is None else part
            if tuple(part.shape) != (len(first), *shape):
                raise DataError(f"modality {name!r}: expected {[len(first), *shape]}, found {list(part.shape)}")
            whole.append(part)
        return torch.cat(whole, self.axis)

    def hidden(self, names: tuple[str, ...]) -> Tensor:
        """The mask of the coordinates of some modalities: bool [*event_shape].

        Raises:
            DataError: a name is unknown.
        """
        unknown = [name for name in names if name not in self.sizes]
        if unknown:
            raise DataError(f"modalities are {', '.join(map(repr, self.sizes))}, found {unknown[0]!r}")
        blocks = [torch.full(shape, name in names) for name, shape in self.shapes.items()]
        return torch.cat(blocks, self.axis)

    @property
    def single(self) -> Tensor:
        """For each modality the mask of all others: bool [M, *event_shape]."""
        return torch.stack([self.hidden(tuple(n for n in self.names if n != name)) for name in self.names])

    @property
    def proper_subsets(self) -> Tensor:
        """For each set of modalities, neither none nor all, the mask of the others: bool [S, *event_shape]."""
        names = self.names
        sets = (kept for size in range(1, len(names)) for kept in itertools.combinations(names, size))
        return torch.stack([self.hidden(tuple(n for n in names if n not in kept)) for kept in sets])
