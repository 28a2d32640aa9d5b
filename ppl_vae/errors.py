"""The exceptions of the package, under one root.

Each message is one sentence or two that name the file, field or site, what was expected and what was
found. The command line prints the message alone and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PplVaeError(Exception):
    """The root of every error that this package raises on purpose."""


class DataError(PplVaeError, ValueError):
    """Data that cannot be used: the file or field, what was expected, what was found.

    What a file calls itself or its parts is shown in one line of bounded length, control characters escaped.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_one_line(str(message)))


_LONGEST_WORD, _LONGEST_MESSAGE = 500, 2000


def _one_line(text: str) -> str:
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return _shortened(" ".join(_shortened(word, _LONGEST_WORD) for word in shown.split(" ")), _LONGEST_MESSAGE)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


class ModelError(PplVaeError, ValueError):
    """A model, guide or setting that cannot be used: the site or option, and the shape or value found."""


class ConvergenceError(PplVaeError, ArithmeticError):
    """Training met a number that is not finite: the epoch, the step and the terms that broke."""


class CheckpointError(PplVaeError, OSError):
    """A run or model folder that cannot be read, written or continued: the file and the reason."""


class RankError(PplVaeError, RuntimeError):
    """A run of several processes that cannot go on because another of them failed or has gone: which, and why."""


def first_line(error: BaseException) -> str:
    """The message of an exception, without the stack that torch puts below it."""
    return str(error).strip().partition("\n")[0]


def reason_of(error: BaseException) -> str:
    """The same, or the class of an exception without a message."""
    return first_line(error) or type(error).__name__


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence for a name that is not in a table, with the nearest known one.

    >>> unknown_name("data set", "digit", ["digits", "mnist"])
    "unknown data set 'digit'; did you mean 'digits'? Known: digits, mnist"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(names)}"
