"""The page: a template filled with verdicts, figures and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from ppl_vae.diagnostics.diagnosis import Diagnosis
from ppl_vae.diagnostics.report.captions import LOO, READING, REFERENCES, SYMBOLS
from ppl_vae.diagnostics.report.decoded import NoMap
from ppl_vae.diagnostics.report.explorable import INSTALL, Wishes, explorable_of, is_installed
from ppl_vae.diagnostics.report.figures import pictures
from ppl_vae.diagnostics.topics import TOPICS, Table
from ppl_vae.diagnostics.verdict import Verdict
from ppl_vae.files import write_atomically

if TYPE_CHECKING:
    from ppl_vae.explore.page import Embedded

TEMPLATE = "report.html.j2"
LEVELS = ("bad", "doubtful", "good", "unknown")
NAMES = {"bad": "bad", "doubtful": "doubtful", "good": "good", "unknown": "no verdict"}
EFFORT_NAMES = {
    "num_data": "data for k-hat, evidence, collapse and predictive checks",
    "num_samples": "importance draws per datum",
    "annealed_data": "data with annealed importance sampling",
    "annealed_chains": "annealed chains per datum",
    "annealed_temperatures": "temperatures",
    "num_simulations": "simulated data for calibration and coverage",
    "num_draws": "draws from q for each of them",
    "num_replicates": "replicated data sets",
    "gap_data": "data of a split whose gap is taken apart",
    "gap_steps": "optimiser steps of the per-datum fits",
    "gap_particles": "draws per datum and step of these fits",
    "gap_samples": "importance draws per datum of that split",
    "reference_data": "data with HMC",
    "reference_samples": "draws of HMC per chain",
    "reference_warmup": "warm-up steps of HMC",
    "reference_chains": "chains of HMC per datum",
    "global_draws": "importance draws of global sites",
    "local_draws": "draws of every datum's local sites at each",
    "worst_data": "data of largest k-hat of each class whose posterior is drawn for the map",
}


@dataclass(frozen=True)
class Subject:
    """The subject of a diagnosis, in words.

    Attributes:
        name: the run's.
        model: a few words, such as "vae with 8 latent dimensions and likelihood bernoulli".
        data: the data set and the split, such as "digits, test split".
        facts: by heading, rows of a label and a value.
        warning: a sentence that stands above everything, such as that the likelihood is no density; may be empty.
        command: what makes the report again; may be empty.
    """

    name: str
    model: str
    data: str
    facts: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    warning: str = ""
    command: str = ""


def subject_of(diagnosis: Diagnosis) -> Subject:
    """Describe a diagnosis of which nothing else is known: the kind of model and the number of data."""
    data = f"{len(diagnosis.x)} data of shape {list(diagnosis.x.shape[1:])}"
    return Subject(diagnosis.model, diagnosis.model, data)


def render_report(
    diagnosis: Diagnosis, subject: Subject, made: datetime | None = None, wishes: Wishes | None = None
) -> str:
    """Render the HTML of a diagnosis; nothing in it is fetched from anywhere.

    Args:
        diagnosis: what ``pv.diagnose`` returned.
        subject: what was diagnosed.
        made: when; now by default.
        wishes: what its map shows; None leaves the map out.

    Raises:
        DataError: a column of ``wishes`` is of another number of data.
        ModelError: its layout is unknown, or the pair has changed since.
    """
    embedded, why_not = _explorable(diagnosis, wishes)
    environment = Environment(
        loader=PackageLoader("ppl_vae.diagnostics.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"figure": figure_text}
    effort = [(EFFORT_NAMES[name], f"{value:,}") for name, value in asdict(diagnosis.effort).items()]
    return environment.get_template(TEMPLATE).render(
        subject=subject,
        diagnosis=diagnosis,
        headline=headline(diagnosis.verdicts),
        counts=[(level, NAMES[level], _count(diagnosis.verdicts, level)) for level in LEVELS],
        level_names=NAMES,
        explanations={name: topic.explanation for name, topic in TOPICS.items()},
        pictures={topic: pictures(topic, diagnosis) for topic in diagnosis.findings},
        tables={topic: _tables(topic, diagnosis) for topic in diagnosis.findings},
        symbols=SYMBOLS,
        reading=READING,
        references=REFERENCES,
        loo=LOO,
        effort=effort,
        embedded=embedded,
        why_not=why_not,
        made=f"{made or datetime.now(UTC):%d %B %Y, %H:%M} UTC",
    )


def _explorable(diagnosis: Diagnosis, wishes: Wishes | None) -> tuple[Embedded | None, str]:
    """Make the map of a diagnosis; where there is none, the reason in words."""
    if wishes is None:
        return None, ""
    if not is_installed():
        return None, f"This page becomes explorable where Bokeh is installed when it is made: {INSTALL}"
    # Bokeh is slow to import, and few pages need it.
    from ppl_vae.explore.page import embed
    from ppl_vae.explore.preview import preview
    from ppl_vae.explore.view import explorable

    try:
        found = explorable_of(diagnosis, wishes)
    except NoMap as reason:
        return None, f"There is no map of the data: {reason}."
    view = explorable(found.scene, found.names)
    return embed(view, "Map and table of the data", preview(found.scene)), ""


def _tables(topic: str, diagnosis: Diagnosis) -> list[Table]:
    """Make the tables of a topic; there are none where it was not run, or has none."""
    numbers, make = diagnosis.findings[topic].numbers, TOPICS[topic].table
    return [] if numbers is None or make is None else [make(numbers, diagnosis)]


def write_report(diagnosis: Diagnosis, subject: Subject, path: str | Path, wishes: Wishes | None = None) -> None:
    """Write the page, the whole of it or nothing.

    Args:
        diagnosis: what ``pv.diagnose`` returned.
        subject: what was diagnosed.
        path: the file.
        wishes: what its map shows; None leaves the map out.

    Raises:
        CheckpointError: the file could not be written.
        DataError: a column of ``wishes`` is of another number of data.
        ModelError: its layout is unknown, or the pair has changed since.
    """
    text = render_report(diagnosis, subject, wishes=wishes)
    write_atomically(Path(path), text.encode(errors="backslashreplace"))


def figure_text(verdict: Verdict) -> str:
    """Write a verdict's figure with its error and unit, for a cell of a table.

    >>> figure_text(Verdict("Gap", "good", 0.1234, 0.011, "nats per datum"))
    '0.123 ± 0.011 nats per datum'
    """
    return verdict.figure


def headline(verdicts: Sequence[Verdict]) -> str:
    """Sum up the verdicts in one sentence."""
    bad, doubtful = ([v.diagnostic for v in verdicts if v.level == level] for level in ("bad", "doubtful"))
    if bad:
        return f"Faults were found: {_listed(bad)}." + (f" In doubt: {_listed(doubtful)}." if doubtful else "")
    if doubtful:
        return f"No clear fault was found; in doubt: {_listed(doubtful)}."
    if any(verdict.level == "good" for verdict in verdicts):
        return "No fault was found by the diagnostics that came to a verdict."
    return "No diagnostic came to a verdict."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(verdicts: Sequence[Verdict], level: str) -> int:
    return sum(verdict.level == level for verdict in verdicts)
