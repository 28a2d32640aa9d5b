"""Examples in docstrings become blocks of code; to Markdown alone three angles are a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^|\n)((?:[ \t]*>>> .*)(?:\n[ \t]*\S.*)*)")


class DocstringExamples(griffe.Extension):
    """Put fences around them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Every docstring, as it is read."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"\n```pycon\n\1\n```\n", obj.docstring.value)
