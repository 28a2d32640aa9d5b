"""The function ``diagnose``: all diagnostics of a pair on a subset of its data, in one result.

A topic that cannot be had for a model becomes a line that says why. The topics run in the order of their
table, cheap ones first; one that would start after the time is up is left out, and its line says so.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import positive, whole
from ppl_vae.containers import Data, Labels
from ppl_vae.declared import Qualified
from ppl_vae.diagnostics.arviz.container import ArvizData
from ppl_vae.diagnostics.arviz.inference_data import inference_data
from ppl_vae.diagnostics.given import admitted, has_global_sites, needs_all_sites
from ppl_vae.diagnostics.infer.closer_look import CloserLook, look_closer
from ppl_vae.diagnostics.topics import FULL, TOPICS, Case, Effort, Topic
from ppl_vae.diagnostics.verdict import Verdict, Verdicts, verdict_table
from ppl_vae.errors import DataError, ModelError, PplVaeError, unknown_name
from ppl_vae.executors import Executors, open_executor, submitted
from ppl_vae.files import as_path
from ppl_vae.inference.pair.admission import together
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.words import in_words, words_by_place
from ppl_vae.inference.training.compute import threads
from ppl_vae.progress import watched
from ppl_vae.randomness import derived_seed

if TYPE_CHECKING:
    from ppl_vae.diagnostics.report.html import Subject

# The name of this file's stream under a seed.
STREAM = 51
# What Pyro and torch raise where a program cannot do what a topic asks for.
REFUSALS = (PplVaeError, NotImplementedError, RuntimeError, ValueError, ArithmeticError)
SECONDS = 240.0
# Stands for the topics that are run unasked.
USUAL = "usual"
# Bytes of the draws of all data, of pairs with global sites.
WHOLE_LIMIT = 1 << 28


@dataclass(frozen=True)
class Finding:
    """The outcome of one topic: its numbers, or the reason why there are none, and its verdicts.

    Attributes:
        title: the topic's.
        verdicts: at least one; where the topic was not run, one that says why.
        numbers: what run_... returned; None where it was not run.
        seconds: the time that it took.
    """

    title: str
    verdicts: tuple[Verdict, ...]
    numbers: xr.Dataset | None
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """The result of ``diagnose``: all findings of one pair on one set of data.

    Attributes:
        findings: by topic, in the order in which they were made.
        chosen: which of the data given were diagnosed [n].
        x: these data.
        y: their labels [n], or None.
        covariates: what the programs took beside the data, by name, each [n, ...].
        labels: the names of the rows and columns of the data.
        case: the pair and these data, so that one can look into them; None where they are not held.
        fingerprint: numbers by which a pair is known that was trained further since; None likewise.
        closer: posteriors of the data with the largest k-hat, for the report; None where HMC was not asked for.
        effort: how much was drawn.
        seed: of the choice and of the draws.
        model: the kind of the pair, such as "VAE".
        inference_data: draws from posterior and prior with their densities, as ``pv.inference_data`` gives them, of
            the diagnosed data; None where they cannot be had.
        why_no_inference_data: the reason, where they cannot; else empty.
    """

    findings: Mapping[str, Finding]
    chosen: NDArray[np.int64]
    x: Tensor = field(repr=False)
    y: np.ndarray | None = field(repr=False)
    effort: Effort
    seed: int
    model: str
    inference_data: ArvizData | None = field(repr=False)
    why_no_inference_data: str = ""
    covariates: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    labels: Labels = field(default_factory=Labels, repr=False)
    case: Case | None = field(default=None, repr=False)
    fingerprint: NDArray[np.float64] | None = field(default=None, repr=False)
    closer: CloserLook | None = field(default=None, repr=False)

    @property
    def column_names(self) -> list[str] | None:
        """The names of the columns of a table, where they are known."""
        axes = self.labels.axes
        known = self.x.dim() == 2 and len(axes) == 1 and axes[0] is not None and len(axes[0]) == self.x.shape[1]
        return [str(name) for name in axes[0]] if known and axes[0] is not None else None

    @property
    def rows(self) -> Tensor | pd.DataFrame:
        """The data as figures of tables take them: with words for categories if the pair is held and has any."""
        return self.x if self.case is None else in_words(as_pair(self.case.pair).model, self.x)

    @property
    def words(self) -> list[tuple[str, ...]]:
        """The words of every column of a table, empty of numbers; empty likewise."""
        return [] if self.case is None else words_by_place(as_pair(self.case.pair).model)

    @property
    def numbers(self) -> dict[str, xr.Dataset]:
        """The numbers of run_... by topic; topics that were not run are left out."""
        return {topic: f.numbers for topic, f in self.findings.items() if f.numbers is not None}

    @property
    def verdicts(self) -> Verdicts:
        """The verdicts of all topics; a notebook shows them as a table."""
        return Verdicts(verdict for finding in self.findings.values() for verdict in finding.verdicts)

    @property
    def seconds(self) -> float:
        """The time that all topics took together."""
        closer = 0.0 if self.closer is None else self.closer.seconds
        return closer + sum(finding.seconds for finding in self.findings.values())

    def table(self) -> pd.DataFrame:
        """The verdicts as rows: diagnostic, level, value, stderr, unit, threshold, words, advice."""
        return pd.DataFrame([vars(verdict) for verdict in self.verdicts])

    def report(
        self,
        path: str | Path,
        subject: Subject | None = None,
        *,
        columns: Mapping[str, Array] | None = None,
        layout: str | Sequence[int] = "auto",
        explorable: bool = True,
    ) -> Path:
        """Write verdicts, figures and tables as one HTML file that needs nothing beside it.

        Where Bokeh is installed the page begins with a map of the codes, which can be asked by pointer and keys;
        where it is not, the page says so.

        Args:
            path: the file; it appears whole or not at all.
            subject: what was diagnosed, in words; by default the model's kind and the number of data.
            columns: numbers or texts of yours by name, one per diagnosed datum [n], for colours and table.
            layout: of the map, as ``pv.explore`` takes it.
            explorable: False leaves the map out.

        Returns:
            The path.

        Raises:
            CheckpointError: the file could not be written.
            DataError: a column is of another number of data.
            ModelError: the layout is unknown, or the pair has changed since.
        """
        # The page needs a template engine and figures, which nothing else here does.
        from ppl_vae.diagnostics.report.explorable import Wishes
        from ppl_vae.diagnostics.report.html import subject_of, write_report

        page = as_path("path", path)
        wishes = Wishes(columns or {}, layout) if explorable else None
        write_report(self, subject or subject_of(self), page, wishes)
        return page

    def __str__(self) -> str:
        return "\n".join(map(str, self.verdicts))

    def _repr_html_(self) -> str:
        return verdict_table(f"diagnosis of {len(self.x)} data", self.verdicts)


def diagnose(
    pair: PairLike,
    x: Data,
    x_train: Data | None = None,
    y: Array | None = None,
    *,
    effort: Effort = FULL,
    topics: str | Sequence[str] | None = None,
    seconds: float = SECONDS,
    on_topic: Callable[[str], None] | None = None,
    progress: bool | None = None,
    executor: Executors = None,
    seed: int = 0,
) -> Diagnosis:
    """Run and judge all diagnostics of a pair, and draw what ArviZ needs.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape], best held out; a random subset is diagnosed. With covariates a tuple (x, c1, ..., cm)
            or a dict of named arrays (``inference.pair.covariates``), by which k-hat is tabled too.
        x_train: training data, for the generalisation gap. Of a pair with global sites, the data that these were
            fitted to; without them x is taken for these, all of it.
        y: a label per datum of x [N], by which k-hat is tabled; or None. A pair that needs y takes it from here
            too; labels of ``x_train`` stand beside it, as (x_train, y_train).
        effort: how much is drawn; ``FULL``, ``QUICK``, or one of your own. Of large data fewer are taken.
        topics: names of ``TOPICS``, or one of them; "usual" stands for all but those that are run on demand,
            "local_c2st" and "posterior_calibration", and is the default.
        seconds: no topic is started later than this.
        on_topic: told the title of every topic as it starts.
        progress: show a progress bar over the topics; by default where a terminal or a notebook shows it to
            somebody.
        executor: where the topics run, several at a time (``ppl_vae.executors``); the numbers are the same. None
            runs them here, one after the other.
        seed: of the subset and all draws; torch's global generators are left as they were.

    Returns:
        Verdicts in words, the numbers behind them by topic, the ArviZ object of the same data, and a report.

    Raises:
        ModelError: the pair is refused, or a setting is; it is named.
        DataError: x is empty, the likelihood has no density for some value, or a topic is unknown.

    >>> import torch
    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    >>> diagnosis = diagnose(lg, torch.randn(20, 3), topics=["importance", "collapse"])
    >>> list(diagnosis.numbers), diagnosis.verdicts[0].level
    (['importance', 'collapse'], 'good')
    """
    seed, seconds = whole("seed", seed, least=None), positive("seconds", seconds)
    if not isinstance(effort, Effort):
        raise ModelError(f"effort must be an Effort, such as pv.diagnostics.QUICK, got {effort!r}")
    given = admitted(pair, x, least=2, y=y, keep_rows=True)
    data = given.x
    is_global = needs_all_sites(given, seed)
    asks_of_global = is_global and has_global_sites(given, seed)
    names = _named_topics(topics, has_global=asks_of_global)
    effort = effort.within(max(1, data[0].numel()))
    labels = _checked(y, len(data))
    chosen = _subset(len(data), effort.num_data, seed)
    train = None if x_train is None else admitted(pair, x_train, keep_rows=True)
    of_set = (given if train is None else train).batch if is_global else ()
    if train is not None:
        train = train[torch.from_numpy(_subset(len(train), effort.gap_data, derived_seed(seed, 1)))]
    source, some = as_pair(pair).source, given[torch.from_numpy(chosen)]
    by_position = Pair(*given.programs, source)
    beside = Arguments.of(by_position).names(len(some.covariates))
    deadline, batch_train = time.monotonic() + seconds, None if train is None else train.batch
    case = Case(by_position, some.batch, batch_train, effort, seed, deadline, some.labels, of_set)
    findings = {}
    with open_executor(executor) as running, watched(len(names), "topic", progress, by_hand=True) as bar:

        def started(name: str) -> Finding | Future[Finding]:
            if time.monotonic() > case.deadline:
                return _not_run(TOPICS[name], f"the {seconds:g} s are up")
            bar.set_postfix_str(TOPICS[name].title)
            if on_topic is not None:
                on_topic(TOPICS[name].title)
            if executor is None:
                return _find(TOPICS[name], case)
            return running.submit(
                find_elsewhere, name, case, time.time(), time.monotonic(), torch.get_num_threads()
            )

        # Here each topic is done when it was started; elsewhere all are started first.
        under_way = ((name, started(name)) for name in names)
        for name, found in under_way if executor is None else list(under_way):
            findings[name] = submitted(found, f"topic {name!r}") if isinstance(found, Future) else found
            bar.update()
    labels = None if labels is None else labels[chosen]
    draws, why_not = _draws(case, labels)
    covariates = {name: c.cpu().numpy() for name, c in zip(beside, some.covariates, strict=True)}
    kind, named = _kind(pair), case.labels
    held = case, _fingerprint(case), _closer(case, findings, labels)
    return Diagnosis(findings, chosen, case.x, labels, effort, seed, kind, draws, why_not, covariates, named, *held)


def _named_topics(topics: str | Sequence[str] | None, has_global: bool) -> list[str]:
    """The topics that are asked for, each once.

    Raises:
        DataError: a name is unknown.
    """
    usual = [name for name, topic in TOPICS.items() if not topic.on_demand and (has_global or not topic.of_global)]
    given = [USUAL] if topics is None else [topics] if isinstance(topics, str) else topics
    names = [each for name in given for each in (usual if name == USUAL else [name])]
    for name in names:
        if name not in TOPICS:
            raise DataError(unknown_name("diagnostic", name, [USUAL, *TOPICS]))
    return list(dict.fromkeys(names))


def run_diagnosis(
    pair: PairLike,
    x: Data,
    x_train: Data | None = None,
    labels: Array | None = None,
    **options: Any,
) -> Diagnosis:
    """Run ``diagnose`` by its old name, which goes with the next release."""
    warnings.warn("run_diagnosis is called pv.diagnose now, and labels= is y=", DeprecationWarning, stacklevel=2)
    return diagnose(pair, x, x_train, labels, **options)


def _draws(case: Case, y: np.ndarray | None) -> tuple[ArvizData | None, str]:
    """Make the ArviZ object of the diagnosed data, or return None and the reason."""
    if time.monotonic() > case.deadline:
        return None, "the time was up"
    try:
        if case.of_set:
            # A draw of global sites belongs to all the data that they were fitted to.
            return inference_data(case.pair, together(case.of_set), None, None, WHOLE_LIMIT, seed=case.seed), ""
        return inference_data(case.pair, case.rows(0, None), case.effort.num_samples, y, seed=case.seed), ""
    except REFUSALS as error:
        return None, " ".join(str(error).split()) or type(error).__name__


def _closer(case: Case, findings: Mapping[str, Finding], y: np.ndarray | None) -> CloserLook | None:
    """Look closer at the worst data where k-hat and HMC were both asked for, and could be had."""
    importance, reference = findings.get("importance"), findings.get("reference")
    if importance is None or importance.numbers is None or reference is None or reference.numbers is None:
        return None
    try:
        return look_closer(case, importance.numbers["khat"].to_numpy(), y)
    except REFUSALS:
        return None


def _fingerprint(case: Case) -> NDArray[np.float64] | None:
    """Take the numbers by which the pair is known again; None where it cannot be run on a few data."""
    try:
        return case.fingerprint()
    except REFUSALS:
        return None


def _kind(pair: PairLike) -> str:
    """Name a pair by the class of the object, or by the names of the two programs."""
    source = as_pair(pair).source
    if isinstance(source, tuple):
        return " and ".join(p.__qualname__ if isinstance(p, Qualified) else type(p).__name__ for p in source)
    return type(source).__name__


def _checked(labels: object, size: int) -> np.ndarray | None:
    values = None if labels is None else np.asarray(labels)
    if values is not None and values.shape != (size,):
        raise DataError(f"y: expected a label per datum, shape [{size}], found {list(values.shape)}")
    return values


def _subset(size: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Choose the data in random order, so that a part of the subset is random too."""
    return np.random.default_rng(derived_seed(seed, STREAM)).choice(size, min(size, wanted), replace=False)


def _find(topic: Topic, case: Case) -> Finding:
    start = time.monotonic()
    try:
        numbers = topic.run(case)
        verdicts = topic.verdicts(numbers)
    except REFUSALS as error:
        return _not_run(topic, " ".join(str(error).split()) or type(error).__name__, time.monotonic() - start)
    return Finding(topic.title, verdicts, numbers, time.monotonic() - start)


def find_elsewhere(name: str, case: Case, wall: float, clock: float, num_threads: int) -> Finding:
    """Run a topic in another process, with as many threads as the caller would use, in whose order sums are.

    Args:
        name: of the topic.
        case: as the caller has it.
        wall: the time of day when it was sent.
        clock: the caller's monotonic clock then, by which the case's deadline is told.
        num_threads: of the caller.
    """
    left = case.deadline - clock - (time.time() - wall)
    if left < 0:
        return _not_run(TOPICS[name], "the time was up before it was begun")
    with threads(num_threads):
        return _find(TOPICS[name], replace(case, deadline=time.monotonic() + left))


def _not_run(topic: Topic, why: str, seconds: float = 0.0) -> Finding:
    verdict = Verdict(topic.title, "unknown", math.nan, words=f"Not run: {why}.")
    return Finding(topic.title, (verdict,), None, seconds)
