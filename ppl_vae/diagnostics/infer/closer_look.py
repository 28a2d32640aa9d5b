"""A closer look at the worst data of a diagnosis: draws of p(z|x) where k-hat is largest, by ``infer``.

HMC holds a random part of the data against the guide, so that its verdict speaks of all. Who asks of a fault wants
the posteriors of its worst data instead, in every class.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.arrays import Array
from ppl_vae.diagnostics.arviz import container
from ppl_vae.diagnostics.infer.infer import NOT_REACHED, RUNGS, infer
from ppl_vae.diagnostics.infer.ladder import MISSED
from ppl_vae.diagnostics.topics import Case
from ppl_vae.inference.pair.admission import together
from ppl_vae.randomness import derived_seed

# The name of this file's stream under a seed.
STREAM = 52
# Chains that are looked at pass at less than those that are counted on (Gelman et al. 2013, section 11.4).
DRAWS, SAMPLES, RHAT, ESS = 300, 4000, 1.05, 100.0
# More classes than these are no classes but names of the data.
MOST_CLASSES = 12
DESCRIBED = {
    "guide": "of the guide itself, which passed", "resampled": "by importance resampling",
    "refined": "by importance resampling of a guide fitted to this datum", "chains": "by HMC",
    "flagged": "that did not pass their checks: how much each place holds is not known",
}  # fmt: skip


@dataclass(frozen=True)
class CloserLook:
    """Draws of the posteriors of a few data.

    Attributes:
        indices: of these among the diagnosed data [m].
        draws: of every latent site by its name in ArviZ's objects [S, m, *event].
        ways: how each was drawn, in words, with what failed where its check did.
        missed: whether a mode was found that the guide's draws have not visited [m].
        seconds: the time taken.
    """

    indices: NDArray[np.int64]
    draws: dict[str, NDArray[np.floating]]
    ways: list[str]
    missed: NDArray[np.bool_]
    seconds: float


def worst_of(khat: NDArray[np.floating], y: Array | None, count: int) -> NDArray[np.int64]:
    """Positions of the largest k-hat, ``count`` of every class, or of all where there are no classes."""
    order = np.argsort(-np.nan_to_num(khat, nan=-math.inf), kind="stable")
    order = order[~np.isnan(khat[order])]
    classes = np.zeros(len(khat), int) if y is None else np.unique(np.asarray(y), return_inverse=True)[1]
    if classes.max(initial=0) >= MOST_CLASSES:
        classes = np.zeros(len(khat), int)
    kept = [order[classes[order] == one][:count] for one in np.unique(classes)]
    return np.sort(np.concatenate(kept)).astype(np.int64)


def look_closer(case: Case, khat: NDArray[np.floating], y: Array | None) -> CloserLook | None:
    """Draw the posteriors of the worst data; None where there are none, or the time is up."""
    began, left = time.monotonic(), case.deadline - time.monotonic()
    indices = worst_of(khat, y, case.effort.worst_data)
    if case.of_set or not len(indices) or left <= 0:
        return None
    rows = torch.from_numpy(indices)
    batch = together(tuple(part[rows] for part in case.batch))
    found = container.groups_of(
        infer(
            case.pair, batch, DRAWS, num_samples=SAMPLES, rhat=RHAT, ess=ESS, progress=False,
            deadline=None if math.isinf(left) else left, seed=derived_seed(case.seed, STREAM),
        )
    )  # fmt: skip
    about = found["sample_stats"]
    reached = np.flatnonzero(about["rung"].to_numpy() != NOT_REACHED)
    draws = {str(name): each.to_numpy()[0][:, reached] for name, each in found["posterior"].data_vars.items()}
    ways = [_way(about, int(i)) for i in reached]
    missed = np.array([MISSED in str(about["reason"].to_numpy()[i]) for i in reached], bool)
    return CloserLook(indices[reached], draws, ways, missed, time.monotonic() - began)


def _way(about: xr.Dataset, i: int) -> str:
    """Say how a datum was drawn, and why, where ``infer`` gives a reason."""
    reason, rhat = str(about["reason"].to_numpy()[i]), float(about["rhat"].to_numpy()[i])
    rung = RUNGS[int(about["rung"].to_numpy()[i])]
    facts = [f"R-hat {rhat:.2f}"] if rung == "chains" else []
    facts += [reason] if reason else []
    return f"{DESCRIBED[rung]} ({'; '.join(facts)})" if facts else DESCRIBED[rung]
