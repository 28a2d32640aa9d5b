"""A page of every record in benchmarks/results: what was measured, by the script's own words, and the numbers."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pages import RESULTS, ROOT, add_copy, add_page, add_section, plain, result
from record_tables import heading, rendered, spoken

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PROVENANCE = ROOT / "benchmarks" / "provenance.json"
# These have pages elsewhere.
SHOWN_ELSEWHERE = {
    "digits_recipes": "[digits, by recipe](../recipes/index.md): a page of every recipe",
    "first_page": "[first page](../index.md): the run that opens these pages",
}


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


def page(name: str, figures: list[str]) -> str:
    """One record."""
    head = [f"# {heading(name)}\n", words(name) + "\n", provenance(name)]
    pictures = [f"![{Path(figure).stem.replace('_', ' ')}]({figure})\n" for figure in figures]
    table = RESULTS / f"{name}.md"
    # Where a script writes its own table, that is what to read; the numbers follow in full.
    tables = [table.read_text(encoding="utf-8"), "## All numbers\n"] if table.exists() else []
    return "\n".join([*head, *pictures, *tables, rendered(result(name), 2)])


def provenance(name: str) -> str:
    """The command that makes a record, the commit of its code, and whether that code has changed since."""
    entry = json.loads(PROVENANCE.read_text()).get(f"{name}.json") if PROVENANCE.exists() else None
    if entry is None:
        return ""
    changed = ", ".join(f"`{file}`" for file in entry["stale"])
    now = f"Older than its code: since then {changed} changed." if changed else "Its code has not changed since."
    return f"Made by `{entry['command']}` with the code of commit {entry['commit']}. {now}\n"
