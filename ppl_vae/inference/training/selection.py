"""The choice of the epoch whose weights are kept, and early stopping, by the plain ELBO on validation data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Selection:
    """The best epoch so far.

    Attributes:
        patience: stop after this many epochs without improvement; None never stops.
        score: the best validation ELBO, nats per datum.
        epoch: where it was reached.
        weights: a copy of the weights there.
        since: the step before whose end no epoch is the best: until then the objective still moves.
    """

    patience: int | None
    score: float = -math.inf
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    since: int = 0

    def offer(self, score: float, epoch: int, weights: Callable[[], dict[str, Tensor]]) -> None:
        """Keep these weights if they are better than all before."""
        if score > self.score:
            self.score, self.epoch, self.weights = score, epoch, weights()

    def exhausted(self, epoch: int) -> bool:
        """Tell whether patience has run out after this epoch."""
        return self.patience is not None and self.epoch > 0 and epoch - self.epoch >= self.patience

    def state(self) -> dict[str, object]:
        """The fields that a checkpoint keeps."""
        return {"score": self.score, "epoch": self.epoch, "weights": self.weights}
