"""A data set: two splits of whole tensors, and what a reader of its numbers must know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from ppl_vae.containers import Labels
from ppl_vae.display import card

Binarization = Literal["none", "threshold", "stochastic", "dynamic"]
"""How grey levels became 0 and 1; "dynamic" draws them anew in every training batch."""


@dataclass(frozen=True)
class Split:
    """One half of a data set.

    Attributes:
        x: float32 [N, *event_shape], values in [0, 1] for images.
        y: int64 [N] class labels, or None.
        factors: float32 [N, F] ground-truth factors of variation, or None.
        copy_of: int64 [N], equal numbers where rows are copies of one datum, which no split may part; None where
            nothing was copied.
        covariates: what conditional programs may take beside x, by name: [N, ...] each.
        names: the names of its rows [N], such as their numbers in a file; None where they have none.
    """

    x: Tensor
    y: Tensor | None = None
    factors: Tensor | None = None
    copy_of: Tensor | None = None
    covariates: Mapping[str, Tensor] = field(default_factory=dict)
    names: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Dataset:
    """Training and test data, the names of its factors, and its binarisation.

    Attributes:
        name: the name it was loaded under.
        train: the split that is learnt from.
        test: the split that is held out.
        factor_names: one name per column of ``factors``; empty where there are none.
        binarization: "none" (as loaded), "threshold", "stochastic" (split once), or "dynamic": ``train.x``
            stays grey and is drawn anew in every training batch, ``test.x`` was drawn once.
        source: where it came from, in words for a manifest (a file, "embedded", "rendered").
        notes: further facts for the manifest, such as seeds of a split or of the test binarisation.
        column_names: one name per column of a table; empty for other data, or where they are not known.
        column_levels: by the name of a column that was read as words, in x or beside it, these words in the order
            of their numbers 0, 1, ...
    """

    name: str
    train: Split
    test: Split
    factor_names: tuple[str, ...] = ()
    binarization: Binarization = "none"
    source: str = ""
    notes: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    column_levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum, for instance (1, 28, 28)."""
        return tuple(self.train.x.shape[1:])

    def labels(self, part: Split) -> Labels:
        """The names of the rows of one split, and of the columns."""
        columns = np.array(self.column_names) if self.column_names else None
        return Labels(part.names, (columns,), columns=True) if columns is not None else Labels(part.names)

    def _repr_html_(self) -> str:
        labels = None if self.train.y is None else f"{len(self.train.y.unique())} classes"
        facts = {
            "event shape": self.event_shape,
            "training data": len(self.train),
            "test data": len(self.test),
            "labels": labels,
            "covariates": ", ".join(self.train.covariates),
            "factors": ", ".join(self.factor_names),
            "binarisation": self.binarization,
            "source": self.source,
            "notes": "; ".join(self.notes),
        }
        return card(f"data set {self.name}", facts)
