"""Docstrings as Markdown: examples become blocks of code, shapes such as [*batch, D] keep their stars.

To Markdown alone three angles are a quotation, and the stars of two shapes in one paragraph make all between them
slanted.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^|\n)((?:[ \t]*>>> .*)(?:\n[ \t]*\S.*)*)")
# What is code already stays as it is: blocks, and what stands in back-ticks.
CODE = re.compile(r"(```.*?```|``.*?``|`[^`]*`)", re.DOTALL)
SHAPE = re.compile(r"\[[^\[\]\n]*\*[a-z][^\[\]\n]*\]")


class DocstringExamples(griffe.Extension):
    """Put fences around examples, and back-strokes before the stars of shapes."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Every docstring, as it is read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """A docstring in which Markdown loses nothing."""
    fenced = EXAMPLE.sub(r"\n```pycon\n\1\n```\n", docstring)
    parts = CODE.split(fenced)
    return "".join(
        part if index % 2 else SHAPE.sub(lambda shape: shape[0].replace("*", r"\*"), part)
        for index, part in enumerate(parts)
    )
