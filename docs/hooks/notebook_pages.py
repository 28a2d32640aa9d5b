"""A page of every notebook, as it is stored: executed, with its figures. Nothing is run here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from pages import ROOT, add_page, add_section

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

FOLDER = ROOT / "notebooks"
TITLE = re.compile(r"^#\s+(.+)$", re.MULTILINE)
TO_NOTEBOOK = re.compile(r"\]\(([\w-]+)\.ipynb(#[^)]*)?\)")
# Outputs in HTML pass by Markdown and come back afterwards.
KEPT: dict[str, str] = {}
# Characters that a page has room for.
FULL_LINE = 80
MARK = re.compile(r'<div data-output="([\w.-]+)"></div>')


def notebooks() -> dict[str, dict[str, Any]]:
    """The notebooks by the name of their file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.ipynb"))}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    found = notebooks()
    if found:
        pages = [{title(name, notebook): f"notebooks/{name}.md"} for name, notebook in found.items()]
        add_section(config, "Notebooks", ["notebooks/index.md", *pages], before="Reference")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages and their figures."""
    found = notebooks()
    if found:
        lines = [f"1. [{title(name, notebook)}]({name}.md)" for name, notebook in found.items()]
        intro = (
            "Each answers one question, runs from a clean kernel in minutes on two cores with embedded data, and "
            "is run again by the test suite. They lie in `notebooks/`; `make notebooks` executes them all.\n"
        )
        add_page(files, config, "notebooks/index.md", "\n".join(["# Notebooks\n", intro, *lines]))
    for name, notebook in found.items():
        figures: dict[str, bytes] = {}
        text = page(name, notebook, figures)
        add_page(files, config, f"notebooks/{name}.md", text)
        for path, content in figures.items():
            add_page(files, config, f"notebooks/{path}", content)
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Put outputs in HTML where they belong."""
    return MARK.sub(lambda found: f'<div class="notebook-output">{KEPT[found[1]]}</div>', html)


def title(name: str, notebook: Mapping[str, Any]) -> str:
    """Its first heading."""
    found = TITLE.search("".join(notebook["cells"][0]["source"]))
    return found[1].strip() if found else name


def page(name: str, notebook: Mapping[str, Any], figures: dict[str, bytes]) -> str:
    """The page in Markdown; figures are put into ``figures`` by their path."""
    parts = []
    for index, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(TO_NOTEBOOK.sub(r"](\1.md\2)", source))
        elif cell["cell_type"] == "code":
            parts.append(fenced(source, "python"))
            outputs = cell.get("outputs", [])
            parts += [shown(output, f"{name}-{index}-{i}", figures) for i, output in enumerate(outputs)]
    return "\n\n".join(part for part in parts if part)


def shown(output: Mapping[str, Any], place: str, figures: dict[str, bytes]) -> str:
    """One output of a cell, in the richest form that a page can show."""
    if output["output_type"] == "stream":
        return printed("".join(output["text"]))
    data = output.get("data", {})
    for kind, show in KINDS.items():
        if kind in data:
            content = data[kind]
            return show("".join(content) if isinstance(content, list) else content, place, figures)
    return ""


def picture(content: str, place: str, figures: dict[str, bytes]) -> str:
    """A figure, as a file beside the page."""
    path = f"figures/{place}.png"
    figures[path] = base64.b64decode(content)
    return f"![output]({path})"


def hypertext(content: str, place: str, figures: dict[str, bytes]) -> str:
    """A table or a summary, as it is."""
    KEPT[place] = content
    return f'<div data-output="{escape(place)}"></div>'


def prose(content: str, place: str, figures: dict[str, bytes]) -> str:
    """Markdown that a cell wrote."""
    return content


def text(content: str, place: str, figures: dict[str, bytes]) -> str:
    """Plain text."""
    return printed(content)


def printed(content: str) -> str:
    """What a cell printed: sentences are broken where the page ends, columns and figures stay under each other."""
    lines = content.splitlines()
    sentences = max(map(len, lines), default=0) > FULL_LINE and not any("  " in line for line in lines)
    return fenced(content, "{ .text .sentences }" if sentences else "text")


def fenced(content: str, language: str) -> str:
    """A block of code, behind a fence that its content does not end."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{fence}{language}\n{content.rstrip()}\n{fence}" if content.strip() else ""


KINDS: Mapping[str, Callable[[str, str, dict[str, bytes]], str]] = {
    "image/png": picture,
    "text/markdown": prose,
    "text/html": hypertext,
    "text/plain": text,
}
