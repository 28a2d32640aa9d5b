"""A page of every record in benchmarks/results: what was measured, by the script's own words, and the numbers."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages import RESULTS, ROOT, add_copy, add_page, add_section, plain, result, table, with_error

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PROVENANCE = ROOT / "benchmarks" / "provenance.json"
# These have pages elsewhere.
SHOWN_ELSEWHERE = {
    "digits_recipes": "[digits, by recipe](../recipes/index.md): a page of every recipe",
    "first_page": "[first page](../index.md): the run that opens these pages",
}
MOST_ROWS, MOST_NUMBERS, MOST_COLUMNS, MOST_IN_A_CELL = 40, 40, 12, 12
# Where they are words, not parts of a name such as analytic-kl.
ABBREVIATION = re.compile(r"(?<![\w-])(cpu|elbo|gpu|kl)(?![\w-])")
# What stands at the end of the key of a standard error.
ERROR = "_stderr"
# Keys of records in the words of a reader.
WORDS = {
    "stderr": "standard error", "ms": "milliseconds", "num data": "number of data", "num samples": "draws",
    "num particles": "draws per datum", "cpu seconds": "CPU seconds", "lr": "learning rate",
    "sd": "standard deviation", "std": "standard deviation", "x": "times",
}  # fmt: skip
# Longer ones, in characters, are paragraphs and no cells; lists of sentences are a line each.
LONGEST_CELL, SENTENCE = 300, 60


def records() -> list[str]:
    """The names of what was measured."""
    return [path.stem for path in sorted(RESULTS.glob("*.json")) if path.stem not in SHOWN_ELSEWHERE]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    pages = [{heading(name): f"measured/{name}.md"} for name in records()]
    add_section(config, "Measured", ["measured/index.md", *pages])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages, and bring the figures."""
    lines = [f"- [{spoken(name)}]({name}.md): {headline(name)}" for name in records()]
    lines += [f"- {words}" for name, words in SHOWN_ELSEWHERE.items() if result(name) is not None]
    intro = (
        "# Measured\n\nEach record lies in `benchmarks/results/` with the machine it was made on, and is made "
        "again by its script in `benchmarks/`. Times are of shared machines: ratios measured side by side mean "
        "more than seconds.\n\n"
    )
    add_page(files, config, "measured/index.md", intro + "\n".join(lines) + "\n")
    figures = sorted(RESULTS.glob("*.png"))
    for figure in figures:
        add_copy(files, config, f"measured/{figure.name}", figure)
    for name in records():
        own = [figure.name for figure in figures if belongs(figure.stem, name)]
        add_page(files, config, f"measured/{name}.md", page(name, own))
    return files


def belongs(figure: str, name: str) -> bool:
    """Whether a figure is of this record and of no other with a name that fits better."""
    fitting = [other for other in records() if figure.startswith(other)]
    if fitting:
        return max(fitting, key=len) == name
    return name in source(name) and f"{figure}.png" in source(name)


def source(name: str) -> str:
    """The script that makes a record; empty where it is gone."""
    path = ROOT / "benchmarks" / f"{name}.py"
    return path.read_text() if path.exists() else ""


def words(name: str) -> str:
    """The script's own words."""
    return (ast.get_docstring(ast.parse(source(name))) or "").strip()


def headline(name: str) -> str:
    """Their first line."""
    return plain(words(name).partition("\n")[0]) or "a record"


def spoken(name: str) -> str:
    """A record's name as a title."""
    words = name.replace("_", " ").replace("mnist", "MNIST").replace("khat", "k-hat")
    words = re.sub(r"^num (?!data|samples|particles)", "number of ", words)
    words = WORDS.get(words, words).replace(" stderr", ", standard error")
    return ABBREVIATION.sub(lambda found: found[0].upper(), words)


def heading(name: str) -> str:
    """The same at the head of a page or section; the usual key of the circumstances says what it is."""
    title = {"on": "measured on"}.get(name, spoken(name))
    return title if title.startswith("k-hat") else title[:1].upper() + title[1:]


def page(name: str, figures: list[str]) -> str:
    """One record."""
    head = [f"# {heading(name)}\n", words(name) + "\n", provenance(name)]
    pictures = [f"![{Path(figure).stem.replace('_', ' ')}]({figure})\n" for figure in figures]
    return "\n".join([*head, *pictures, rendered(result(name), 2)])


def provenance(name: str) -> str:
    """The command that makes a record, the commit of its code, and whether that code has changed since."""
    entry = json.loads(PROVENANCE.read_text()).get(f"{name}.json") if PROVENANCE.exists() else None
    if entry is None:
        return ""
    changed = ", ".join(f"`{file}`" for file in entry["stale"])
    now = f"Older than its code: since then {changed} changed." if changed else "Its code has not changed since."
    return f"Made by `{entry['command']}` with the code of commit {entry['commit']}. {now}\n"


def rendered(value: Any, level: int) -> str:
    """A record as tables: what is flat first, what is nested under headings."""
    if not isinstance(value, Mapping):
        return plain_value(value) + "\n"
    if is_table(value):
        return as_table(value)
    if is_columns(value):
        return from_columns(value)
    flat = {key: item for key, item in value.items() if is_flat(item)}
    nested = {key: item for key, item in value.items() if not is_flat(item)}
    long = [key for key, item in flat.items() if isinstance(item, str) and len(item) > LONGEST_CELL]
    text = [f"**{plain(heading(key))}**: {plain(flat.pop(key))}\n" for key in long]
    rows = [(plain(spoken(str(key))), cell(flat, key)) for key in flat if not is_error_of(key, flat)]
    text += [table(("", ""), rows, "ll")] if rows else []
    for key, item in nested.items():
        title = plain(heading(str(key)))
        text += [f"{'#' * level} {title}\n" if level < 6 else f"**{title}**\n", rendered(item, level + 1)]
    return "\n".join(text)


def is_scalar(value: Any) -> bool:
    """Whether it is one number or word."""
    return value is None or isinstance(value, str | int | float | bool)


def is_interval(value: Any) -> bool:
    """Whether it is a median between two bounds."""
    return isinstance(value, Mapping) and value.keys() == {"median", "lower", "upper"}


def is_flat(value: Any) -> bool:
    """Whether it fits into one cell."""
    return is_scalar(value) or is_interval(value) or (isinstance(value, list) and all(map(is_scalar, value)))


def is_cell(value: Any) -> bool:
    """Whether it fits into one cell of several beside each other."""
    return is_flat(value) and not (isinstance(value, list) and len(value) > MOST_IN_A_CELL)


def is_table(value: Mapping[str, Any]) -> bool:
    """Whether it is several rows with columns in common."""
    rows = list(value.values())
    if len(rows) < 2 or not all(
        isinstance(row, Mapping) and row and all(map(is_cell, row.values())) and not is_interval(row)
        for row in rows
    ):
        return False
    if any(is_columns(row) for row in rows):
        return False
    columns = {key for row in rows for key in row}
    return len(columns) <= MOST_COLUMNS and all(len(columns & row.keys()) * 2 > len(columns) for row in rows)


def is_columns(value: Mapping[str, Any]) -> bool:
    """Whether it is a few lists of equal length, such as a history by epoch."""
    lists = list(value.values())
    return len(lists) > 1 and all(
        isinstance(item, list) and all(map(is_scalar, item)) and 1 < len(item) == len(lists[0]) <= MOST_ROWS
        for item in lists
    )


def as_table(value: Mapping[str, Any]) -> str:
    """A row a key."""
    every = dict.fromkeys(key for row in value.values() for key in row)
    columns = [key for key in every if not is_error_of(key, every)]
    rows = [(plain(key), *(cell(row, column) for column in columns)) for key, row in value.items()]
    words = [any(holds_words(row.get(column)) for row in value.values()) for column in columns]
    align = "l" + "".join("l" if in_words else "r" for in_words in words)
    return table(("", *(plain(spoken(column)) for column in columns)), rows, align)


def is_error_of(key: str, row: Mapping[str, Any]) -> bool:
    """Whether a key is the standard error of another, beside which it is written."""
    return key.endswith(ERROR) and key.removesuffix(ERROR) in row


def cell(row: Mapping[str, Any], key: str) -> str:
    """A value as text, with its standard error where the record has one."""
    value, error = row.get(key), row.get(f"{key}{ERROR}")
    if is_number(value) and is_number(error):
        return plain(with_error(value, error))
    return plain_value(value)


def is_number(value: Any) -> bool:
    """Whether it is one number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def holds_words(value: Any) -> bool:
    """Whether it reads from the left."""
    return isinstance(value, str | list)


def from_columns(value: Mapping[str, Any]) -> str:
    """A column a key."""
    rows = [tuple(map(plain_value, row)) for row in zip(*value.values(), strict=True)]
    return table([plain(spoken(key)) for key in value], rows, "r" * len(value))


def plain_value(value: Any) -> str:
    """A cell."""
    if isinstance(value, list):
        sentences = any(isinstance(item, str) and len(item) > SENTENCE for item in value)
        shown = ("<br>" if sentences else ", ").join(map(plain_value, value[:MOST_NUMBERS]))
        return shown + (f", ... ({len(value)} in all)" if len(value) > MOST_NUMBERS else "")
    if is_interval(value):
        return "{} ({} to {})".format(*(plain_value(value[key]) for key in ("median", "lower", "upper")))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if 10_000 <= abs(value) < math.inf else f"{value:.5g}"
    return plain(value)
