"""A pair given the covariates of its data: two functions of x alone, cut together with the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppl_vae.containers import Labels
from ppl_vae.inference.pair.covariates import at_covariates
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program


@dataclass(frozen=True, eq=False)
class Conditioned:
    """Two programs and their data; what is asked about x is asked given the covariates.

    Attributes:
        programs: the model and the guide, called as model(*batch) and guide(*batch).
        batch: (x, c1, ..., cm), each with N in front.
        labels: the names of the rows and coordinates of x, where it came with any.
    """

    programs: tuple[Program, Program]
    batch: Batch
    labels: Labels = field(default_factory=Labels)

    @property
    def x(self) -> Tensor:
        """The data [N, *event_shape]."""
        return self.batch[0]

    @property
    def covariates(self) -> Batch:
        """The covariates that the programs take beside x."""
        return self.batch[1:]

    @property
    def model(self) -> Program:
        """The generative program as a function of these N data alone."""
        return at_covariates(self.programs[0], self.covariates)

    @property
    def guide(self) -> Program:
        """The guide as a function of these N data alone."""
        return at_covariates(self.programs[1], self.covariates)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> Conditioned:
        names = self.labels.taken(rows if isinstance(rows, slice) else rows.cpu().numpy())
        return Conditioned(self.programs, tuple(part[rows] for part in self.batch), names)

    def split(self, size: int) -> Iterator[Conditioned]:
        """Cut them into parts of ``size`` data."""
        return (self[first : first + size] for first in range(0, len(self), size))

    def repeated(self, number: int) -> Conditioned:
        """All of them ``number`` times, one copy behind the other: [number * N, ...]."""
        return Conditioned(self.programs, tuple(p.repeat(number, *[1] * (p.dim() - 1)) for p in self.batch))

    def lenders(self, size: int) -> Tensor:
        """Choose the data that lend covariates and holes to ``size`` simulated ones: all, or some from all over.

        Of data in an order, as by class, the first would be of another kind than the rest.
        """
        count = torch.arange(size, device=self.x.device)
        return count % len(self) if size >= len(self) else count * len(self) // size

    def under(self, other: Conditioned) -> Conditioned:
        """These data under the programs of another pair."""
        return Conditioned(other.programs, self.batch, self.labels)

    def with_batch(self, batch: Batch) -> Conditioned:
        """Other data, and what the programs take beside them."""
        return Conditioned(self.programs, batch)
