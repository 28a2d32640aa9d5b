"""Pages that are written while the site is built: how a hook adds one, and where it stands in the navigation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
# A character that would begin something in Markdown or HTML.
MARKUP = re.compile(r"([\\`*_{}\[\]>#|])")


def add_page(files: Files, config: MkDocsConfig, path: str, content: str | bytes) -> None:
    """A page of Markdown, or a figure, at a path below docs."""
    # Here and not above, so that the tests of what pages say need no site builder.
    from mkdocs.structure.files import File

    files.append(File.generated(config, path, content=content))


def add_copy(files: Files, config: MkDocsConfig, path: str, source: Path) -> None:
    """A file as it is at a path below docs."""
    add_page(files, config, path, source.read_bytes())


def add_section(config: MkDocsConfig, title: str, pages: Sequence[Any], before: str = "Reference") -> None:
    """A section of the navigation in front of another."""
    titles = [next(iter(entry)) for entry in config.nav]
    config.nav.insert(titles.index(before), {title: list(pages)})


def result(name: str) -> Any:
    """A record of a measurement; None where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def plain(text: object) -> str:
    """Text in which nothing is markup."""
    return escaped(" ".join(str(text).split()))


def escaped(text: str) -> str:
    """The same with its spaces as they are; Markdown knows no escape of the one character."""
    return MARKUP.sub(r"\\\1", text).replace("<", "&lt;")


def prose(docstring: str) -> str:
    """The first paragraph of a docstring: what stands in back-ticks is code, nothing else is markup."""
    parts = " ".join(docstring.partition("\n\n")[0].split()).replace("``", "`").split("`")
    return "".join(f"`{part}`" if index % 2 else escaped(part) for index, part in enumerate(parts))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A table in Markdown; ``align`` has one of l and r a column, by default the first left, all others right."""
    sides = align or "l" + "r" * (len(header) - 1)
    rule = ["---:" if side == "r" else "---" for side in sides]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows)) + "\n"


def with_error(value: float, stderr: float | None) -> str:
    """A value to the digits that its standard error bears out."""
    from ppl_vae.display import with_error as written

    return written(value, float("nan") if stderr is None else stderr)


def fact_table(facts: Mapping[str, object], heading: str) -> str:
    """Labels and values, without those that are empty, under a heading of the labels."""
    rows = [(plain(label), plain(value)) for label, value in facts.items() if value not in (None, "")]
    return table((heading, ""), rows, "ll")
