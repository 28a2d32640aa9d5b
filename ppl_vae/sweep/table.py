"""The result of a sweep as one Dataset: every trial's score with its error, and how far each point is behind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_vae.files import JsonObject
from ppl_vae.sweep.pruning import difference
from ppl_vae.sweep.trial import DONE

DESCRIPTIONS = {
    "elbo": "plain ELBO on data that no trial is trained on",
    "log_evidence": "importance bound on log p(x) on data that no trial is trained on",
}


@dataclass(frozen=True)
class Point:
    """One point of a sweep and its trials, one a seed.

    Attributes:
        number: in the order in which they were tried.
        options: that were tried.
        results: of the trials.
        scores: of the trials that are done, [N]; None of others.
    """

    number: int
    options: Mapping[str, object]
    results: Sequence[JsonObject]
    scores: Sequence[Tensor | None]

    def mean_scores(self) -> Tensor | None:
        """The scores of every datum, means over the seeds: [N]; None where a trial is not done."""
        done = [scores for scores in self.scores if scores is not None]
        return torch.stack(done).mean(0) if len(done) == len(self.scores) else None

    def score(self) -> float | None:
        """The mean over data and seeds."""
        mean = self.mean_scores()
        return None if mean is None else float(mean.mean())

    def seeds_variance(self) -> float:
        """The variance of the mean over seeds that the seeds make: NaN where there is one."""
        means = np.array([float(scores.mean()) for scores in self.scores if scores is not None])
        return float(means.var(ddof=1) / len(means)) if len(means) > 1 else math.nan


def as_table(
    points: Sequence[Point], seeds: Sequence[int], by: str, attributes: Mapping[str, object]
) -> xr.Dataset:
    """The points in their order, over the seeds; ``behind`` is that of the best point, the same data for both.

    The error of ``behind`` is that of a mean over data of the difference, so that what is hard in the data drops
    out, with the spread over seeds of both points added where there are several seeds.
    """
    per_trial = {
        by: [[math.nan if s is None else float(s.mean()) for s in point.scores] for point in points],
        f"{by}_stderr": [[_stderr(s) for s in point.scores] for point in points],
        "epochs": [[float(r.get("epochs", math.nan)) for r in point.results] for point in points],
        "seconds": [[float(r.get("seconds", math.nan)) for r in point.results] for point in points],
        "status": [[str(r["status"]) for r in point.results] for point in points],
    }
    about = {
        by: {"description": DESCRIPTIONS[by], "units": "nats per datum"},
        f"{by}_stderr": {"description": f"standard error of {by}, over data and draws", "units": "nats per datum"},
        "epochs": {"description": "passes over the training data that were run", "units": "1"},
        "seconds": {"description": "training, its evaluations included", "units": "s"},
        "status": {"description": "done, pruned or failed"},
    }
    table = xr.Dataset({name: (("point", "seed"), rows, about[name]) for name, rows in per_trial.items()})
    best = _best(points)
    behind = np.array([_behind(None if best is None else points[best], point) for point in points])
    table["behind"] = (
        "point",
        behind[:, 0],
        {"description": f"{by} of the best point minus this", "units": "nats per datum"},
    )
    table["behind_stderr"] = (
        "point",
        behind[:, 1],
        {"description": "standard error of behind", "units": "nats per datum"},
    )
    names = list(dict.fromkeys(name for point in points for name in point.options))
    table = table.assign_coords(point=[point.number for point in points], seed=list(seeds))
    coordinates = []
    for name in names:
        coordinates.append(_free(name, table))
        values = _column([point.options.get(name) for point in points])
        table = table.assign_coords({coordinates[-1]: ("point", values)})
    table.attrs = {
        **attributes, "judge": by, "options": coordinates, "best": -1 if best is None else points[best].number
    }  # fmt: skip
    return table


def _free(name: str, table: xr.Dataset) -> str:
    """The option's own name, or one that stands for nothing else in the table: a coordinate hides a variable."""
    return name if name not in table.variables else _free(f"{name}_option", table)


def _stderr(scores: Tensor | None) -> float:
    return math.nan if scores is None else float(scores.std() / len(scores) ** 0.5)


def _best(points: Sequence[Point]) -> int | None:
    scored = [(score, -index) for index, point in enumerate(points) if (score := point.score()) is not None]
    return -max(scored)[1] if scored else None


def _behind(best: Point | None, point: Point) -> tuple[float, float]:
    ahead, own = (None if best is None else best.mean_scores()), point.mean_scores()
    if best is None or ahead is None or own is None:
        return math.nan, math.nan
    behind, error = difference(ahead, own)
    if best is point:
        return 0.0, 0.0
    of_seeds = best.seeds_variance() + point.seeds_variance()
    return behind, error if math.isnan(of_seeds) else math.sqrt(error**2 + of_seeds)


def _column(values: Sequence[object]) -> np.ndarray:
    """Numbers as numbers, anything else in words."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values)
    return np.array([str(value) for value in values])


def done(result: JsonObject) -> bool:
    """Tell whether a trial has scores."""
    return result["status"] == DONE
