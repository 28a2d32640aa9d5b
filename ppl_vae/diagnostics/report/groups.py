"""The data behind each verdict of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.diagnostics.diagnosis import Diagnosis
from ppl_vae.diagnostics.report.per_datum import KHAT
from ppl_vae.diagnostics.verdict import MARKS
from ppl_vae.explore.scene import Group

EXTREME = 0.05
Found = tuple[NDArray[np.int64], str, str]


def groups_of(diagnosis: Diagnosis) -> list[Group]:
    """Find for every verdict the data that made it; none where it was made by simulated data or by none."""
    found = []
    for topic, finding in diagnosis.findings.items():
        numbers = finding.numbers
        if numbers is None or topic not in FINDERS:
            continue
        for verdict in finding.verdicts:
            indices, words, sort_by = FINDERS[topic](numbers, len(diagnosis.x))
            if len(indices):
                found.append(Group(verdict.diagnostic, MARKS[verdict.level], words, indices, sort_by))
    return [*found, *_missed_modes(diagnosis)]


def _missed_modes(diagnosis: Diagnosis) -> list[Group]:
    """The data of the closer look whose posterior has a mode that the guide does not know."""
    closer = diagnosis.closer
    if closer is None or not closer.missed.any():
        return []
    words = (
        f"The posteriors of {len(closer.indices)} data, those of largest k-hat of every class, were searched for "
        f"modes that no draw of the guide has come to; {closer.missed.sum()} have one."
    )
    return [Group("Mode missed by the guide", MARKS["bad"], words, closer.indices[closer.missed], KHAT)]


def _of_importance(numbers: xr.Dataset, size: int) -> Found:
    khat, limit = numbers["khat"].to_numpy(), numbers.attrs["threshold"]
    above = np.flatnonzero(khat > limit)
    if len(above):
        return above, f"{len(above)} of {size} data have k-hat above {limit:.2f}.", KHAT
    known = np.flatnonzero(~np.isnan(khat))
    return known, f"No datum has k-hat above {limit:.2f}; these are all that have one.", KHAT


def _of_evidence(numbers: xr.Dataset, size: int) -> Found:
    annealed = np.flatnonzero(~np.isnan(numbers["annealed"].to_numpy()))
    words = f"The verdict compares both estimates of log p(x) on the {len(annealed)} annealed data."
    return annealed, words, "log p(x), annealed"


def _of_predictive(numbers: xr.Dataset, size: int) -> Found:
    if "datum_p_value" not in numbers or numbers["datum_p_value"].dims != ("statistic", "datum"):
        return np.empty(0, np.int64), "", ""
    lowest = np.nanmin(np.nan_to_num(numbers["datum_p_value"].to_numpy(), nan=1.0), 0)
    extreme = np.flatnonzero(lowest < EXTREME)
    words = (
        f"The verdict is on the set as a whole; {len(extreme)} of {size} data are below p = {EXTREME} in some "
        "statistic by themselves, among their own replicates."
    )
    return extreme, words, ""


def _of_gaps(numbers: xr.Dataset, size: int) -> Found:
    count = min(size, numbers.sizes["datum"])
    return np.arange(count), f"The gaps were taken apart on these {count} data.", "amortisation gap"


def _of_reference(numbers: xr.Dataset, size: int) -> Found:
    if "c2st" not in numbers:
        return np.empty(0, np.int64), "", ""
    count = min(size, numbers.sizes["datum"])
    return np.arange(count), f"HMC was run on these {count} data, those that differ most first.", "C2ST"


FINDERS: dict[str, Callable[[xr.Dataset, int], Found]] = {
    "importance": _of_importance,
    "evidence": _of_evidence,
    "predictive": _of_predictive,
    "gaps": _of_gaps,
    "reference": _of_reference,
}
