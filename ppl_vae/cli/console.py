"""Print text as it is, on any terminal."""

from __future__ import annotations

import codecs
import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# What stands for the few signs of ours that an ASCII terminal lacks.
PLAIN = {"±": "+-", "≥": ">=", "≤": "<=", "…": "...", "—": "-", "π": "pi"}
HANDLER = "ppl_vae.plain"


def plain_console(quiet: bool = False) -> Console:
    """Make a console on stdout that takes square brackets and colons in names as text."""
    from rich.console import Console

    return Console(quiet=quiet, markup=False, highlight=False, emoji=False)


def print_anywhere() -> None:
    """Let a terminal or file of any encoding take what is printed, names of files that are no text among it."""
    codecs.register_error(HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def one_line(message: str, most: int = 2000) -> str:
    """Write a message without line breaks and control characters, cut where it would bury the terminal."""
    flat = " ".join(message.split())
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in flat)
    return shown if len(shown) <= most else f"{shown[: most - 4]} ..."


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    written = "".join(PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lost)
    return written, error.end
