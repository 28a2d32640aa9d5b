"""Formulas in TeX become MathML while the site is built: the browser draws them, nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex leaves behind in its generic mode.
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


# In the table of contents a heading has lost its markup.
HEADING = re.compile(r"\\\((.*?)\\\)")


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Replace every formula of a page, and of its table of contents."""
    write_headings(page.toc)
    html = INLINE.sub(lambda found: convert(unescape(found[1])), html)
    return DISPLAY.sub(lambda found: convert(unescape(found[1]), display="block"), html)


def write_headings(entries: Iterable[Any]) -> None:
    """Replace the formulas of headings, and of those below them."""
    for entry in entries:
        entry.title = HEADING.sub(lambda found: convert(unescape(found[1])), entry.title)
        write_headings(entry.children)
