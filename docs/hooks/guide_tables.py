"""What the guides say of every estimator and diagnostic comes from the library's own tables and recorded runs.

A line such as {{ estimators }} in a page stands for one of them; ``TABLES`` names them all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from pages import plain, prose, result, table

from ppl_vae.diagnostics.topics import TOPICS
from ppl_vae.inference.estimators.table import ESTIMATORS


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the tables into a page."""
    for mark, make in TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def estimators() -> str:
    """Name, and what its class says of itself first."""
    rows = []
    for name, kind in ESTIMATORS.items():
        words = prose(inspect.getdoc(kind) or "")
        rows.append((f"`{name}`", f"[`{kind.__name__}`][{kind.__module__}.{kind.__name__}]: {words}"))
    return table(("name", "class, and what it is"), rows, "ll")


def measured_estimators() -> str:
    """Each on one trained model."""
    record = result("digits_estimators")
    if record is None:
        return "No comparison is recorded: run `python benchmarks/digits_estimators.py`.\n"
    columns = list(next(iter(record["estimators"].values())))
    rows = [
        (f"`{name}`", *(number(row[column]) for column in columns)) for name, row in record["estimators"].items()
    ]
    on = record["on"]
    words = (
        f"{on['num_data']} held-out digits, {on['repeats']} repeats with the same noise, after {on['epochs']} "
        f"epochs with the closed-form KL; gradients are those of {on['gradient of']}; milliseconds are those "
        "of the processor, on one thread (`OMP_NUM_THREADS=1 python benchmarks/digits_estimators.py`)."
    )
    said = f'??? quote "What inf.check_estimators(table).details says of it"\n    {plain(record["words"])}\n'
    return "\n".join([words + "\n", table(("", *columns), rows), said])


def number(value: float) -> str:
    """Four digits, and no power of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def diagnostics() -> str:
    """Question, method, what it shows, what it cannot, and what it took."""
    record = result("digits_diagnosis")
    text = []
    for topic in TOPICS.values():
        title, explained = topic.title, topic.explanation
        text += [
            f"### {title}\n",
            f"*{plain(explained.question)}*\n",
            f"{plain(explained.method)}\n",
            f"**It shows**: {plain(explained.shows)}\n",
            f"**It cannot prove**: {plain(explained.cannot)}\n",
        ]
        if record is not None and title in record["topics"]:
            found = record["topics"][title]
            verdicts = "\n".join(f"    {plain(verdict)}\n" for verdict in found["verdicts"])
            text.append(f'??? example "On the digits: {found["processor seconds"]:g} s"\n{verdicts}')
    return "\n".join(text)


def costs() -> str:
    """What every topic took in one recorded diagnosis."""
    record = result("digits_diagnosis")
    if record is None:
        return "No diagnosis is recorded: run `python benchmarks/digits_diagnosis.py`.\n"
    rows = [(title, f"{found['processor seconds']:.1f}") for title, found in record["topics"].items()]
    on = record["on"]
    words = (
        f"Processor seconds of a diagnosis with full effort, of a small VAE on {on['num_data']} held-out digits, "
        f"on {on['threads']} thread; {on['processor seconds of it']:.0f} s in all "
        "(`python benchmarks/digits_diagnosis.py`)."
    )
    return "\n".join([words + "\n", table(("topic", "processor seconds"), rows)])


TABLES: Mapping[str, Callable[[], str]] = {
    "{{ estimators }}": estimators,
    "{{ measured estimators }}": measured_estimators,
    "{{ diagnostics }}": diagnostics,
    "{{ costs of diagnostics }}": costs,
}
