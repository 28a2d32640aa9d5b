r"""Pruning: a trial ends early where it is behind another beyond the error of their difference.

At a rung, a number of epochs, the trial's score of every judged datum s_n is compared with that of the best trial
that has passed the same rung, b_n. Both are of the same data, so that the data's own spread leaves the difference:

    behind = mean_n (b_n - s_n),   error = sd_n (b_n - s_n) / sqrt(N)

The trial ends where behind > z error. Which trials have passed a rung depends on how fast they ran, so that two
sweeps may prune differently; what is not pruned has the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ppl_vae.files import read_tensors, write_tensors

SCORES, RUNGS = "scores", "rungs"


@dataclass(frozen=True)
class Pruning:
    """Looks at a trial when it passes its rungs; called with the rows of its history.

    Attributes:
        folder: of the sweep.
        trial: the name of the trial.
        rungs: epochs after which it is compared.
        beyond: how many standard errors behind the best it may be.
        score: the judged quantity of every datum as the weights are now: [N].
    """

    folder: Path
    trial: str
    rungs: tuple[int, ...]
    beyond: float
    score: Callable[[], Tensor]

    def __call__(self, row: dict[str, float]) -> str | None:
        """Say "stop" where the trial is behind."""
        if int(row["epoch"]) not in self.rungs:
            return None
        place = self.folder / RUNGS / f"epoch-{int(row['epoch'])}"
        place.mkdir(parents=True, exist_ok=True)
        own = self.score()
        write_tensors(place / f"{self.trial}.safetensors", {SCORES: own})
        others = [path for path in sorted(place.glob("*.safetensors")) if path.stem != self.trial]
        rivals = [read_tensors(path)[SCORES] for path in others]
        best = max(rivals, key=lambda scores: float(scores.mean()), default=own)
        return "stop" if is_behind(best, own, self.beyond) else None


def is_behind(best: Tensor, own: Tensor, beyond: float) -> bool:
    """Tell whether scores of the same data [N] are below others by more than so many errors of the difference."""
    behind, error = difference(best, own)
    return behind > beyond * error


def difference(best: Tensor, own: Tensor) -> tuple[float, float]:
    """The mean of best - own over data, and its standard error.

    >>> import torch
    >>> difference(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 2.0]))
    (1.0, 0.0)
    """
    each = best - own
    return float(each.mean()), float(each.std() / len(each) ** 0.5)
