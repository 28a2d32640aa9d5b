"""All diagnostics of a pair on a subset of its data: one run, one list of verdicts.

A topic that cannot be had for a model becomes a line that says why. The topics run in the order of their
table, cheap ones first; one that would start after the time is up is left out, and its line says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.checks import positive, whole
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.topics import FULL, TOPICS, Case, Effort, Topic
from ppl_vae.diagnostics.verdict import Verdict
from ppl_vae.errors import DataError, PplVaeError, unknown_name
from ppl_vae.randomness import derived_seed

# The name of this file's stream under a seed.
STREAM = 51
# What Pyro and torch raise where a program cannot do what a topic asks for.
REFUSALS = (PplVaeError, NotImplementedError, RuntimeError, ValueError, ArithmeticError)
SECONDS = 240.0


@dataclass(frozen=True)
class Finding:
    """What became of one topic.

    Attributes:
        title: the topic's.
        verdicts: at least one; where the topic was not run, one that says why.
        numbers: what run_... returned; None where it was not run.
        seconds: it took.
    """

    title: str
    verdicts: tuple[Verdict, ...]
    numbers: xr.Dataset | None
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """All findings of one pair on one set of data.

    Attributes:
        findings: by topic, in the order in which they were made.
        chosen: which of the data given were diagnosed [n].
        x: these data.
        labels: theirs [n], or None.
        effort: how much was drawn.
        seed: of the choice and of the draws.
    """

    findings: Mapping[str, Finding]
    chosen: NDArray[np.int64]
    x: Tensor = field(repr=False)
    labels: NDArray[Any] | None
    effort: Effort
    seed: int

    @property
    def verdicts(self) -> list[Verdict]:
        """Of all topics."""
        return [verdict for finding in self.findings.values() for verdict in finding.verdicts]

    @property
    def seconds(self) -> float:
        """All of it took."""
        return sum(finding.seconds for finding in self.findings.values())

    def table(self) -> pd.DataFrame:
        """A row a verdict: diagnostic, level, value, stderr, unit, threshold, words, advice."""
        return pd.DataFrame([vars(verdict) for verdict in self.verdicts])

    def __str__(self) -> str:
        return "\n".join(map(str, self.verdicts))


def run_diagnosis(
    pair: Any,
    x: Any,
    x_train: Any = None,
    labels: Any = None,
    *,
    effort: Effort = FULL,
    topics: Sequence[str] | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
    on_topic: Callable[[str], None] | None = None,
) -> Diagnosis:
    """Run and judge all diagnostics.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape], best held out; a random subset is diagnosed.
        x_train: training data, for the generalisation gap.
        labels: one a datum of x [N], by which k-hat is tabled; or None.
        effort: how much is drawn; ``FULL``, ``QUICK``, or one of your own. Of large data fewer are taken.
        topics: names of ``TOPICS``; by default all.
        seconds: no topic is started later than this.
        seed: of the subset and all draws; torch's global generators are left as they were.
        on_topic: told the title of every topic as it starts.

    Raises:
        ModelError: the pair is refused, or a setting is; it is named.
        DataError: x is empty, the likelihood has no density for some value, or a topic is unknown.
    """
    seed, seconds = whole("seed", seed, least=None), positive("seconds", seconds)
    _, _, data = admitted(pair, x, least=2)
    names = list(TOPICS) if topics is None else list(topics)
    for name in names:
        if name not in TOPICS:
            raise DataError(unknown_name("diagnostic", name, TOPICS))
    effort = effort.within(max(1, data[0].numel()))
    labels = _checked(labels, len(data))
    chosen = _subset(len(data), effort.num_data, seed)
    train = None if x_train is None else admitted(pair, x_train)[2]
    if train is not None:
        train = train[_subset(len(train), effort.gap_data, derived_seed(seed, 1))]
    case = Case(pair, data[chosen], train, effort, seed, deadline=time.monotonic() + seconds)
    findings = {}
    for name in names:
        late = time.monotonic() > case.deadline
        if on_topic is not None and not late:
            on_topic(TOPICS[name].title)
        findings[name] = _not_run(TOPICS[name], f"the {seconds:g} s are up") if late else _find(TOPICS[name], case)
    return Diagnosis(findings, chosen, case.x, None if labels is None else labels[chosen], effort, seed)


def _checked(labels: Any, size: int) -> NDArray[Any] | None:
    values = None if labels is None else np.asarray(labels)
    if values is not None and values.shape != (size,):
        raise DataError(f"labels: expected one a datum, shape [{size}], found {list(values.shape)}")
    return values


def _subset(size: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Which data, in random order, so that a part of the subset is random too."""
    return np.random.default_rng(derived_seed(seed, STREAM)).choice(size, min(size, wanted), replace=False)


def _find(topic: Topic, case: Case) -> Finding:
    start = time.monotonic()
    try:
        numbers = topic.run(case)
        verdicts = tuple(topic.check(numbers))
    except REFUSALS as error:
        return _not_run(topic, " ".join(str(error).split()) or type(error).__name__, time.monotonic() - start)
    return Finding(topic.title, verdicts, numbers, time.monotonic() - start)


def _not_run(topic: Topic, why: str, seconds: float = 0.0) -> Finding:
    verdict = Verdict(topic.title, "unknown", math.nan, words=f"Not run: {why}.")
    return Finding(topic.title, (verdict,), None, seconds)
