"""The test whether the texts in a column are words, or numbers and dates that a file writes in a way of its own.

A column of numbers becomes text by one cell that is none ("?", "<0.5"), by commas ("1,250"), signs ("12%") or
dates. Taken for words, each number would be a level, in the order of the alphabet.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ppl_vae.errors import DataError

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Digits in groups of three, or a decimal point or comma; a sign, a currency and a percent sign around them.
WRITTEN = re.compile(
    r"[+-]?[$€£¥]?\s?(\d{1,3}([,.' \u00a0\u202f]\d{3})+([.,]\d+)?|\d+[.,]?\d*|[.,]\d+)\s?[%$€£¥]?", re.ASCII
)
DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([T ].*)?")
# Fewer are few levels, whatever they are: doses, answers "1,2" to a question. And as many other words at most stand
# for what is not a number.
FEWEST_NUMBERS, FEWEST_BESIDE_OTHERS, MOST_OTHERS = 5, 10, 3


def require_words(
    column: object, texts: Collection[str], path: Path | None = None, dates_are_words: bool = False
) -> None:
    """Refuse texts that are numbers or dates, or that differ by spaces alone; plain numbers may be names.

    Args:
        column: its name.
        texts: the different texts in it.
        path: the file that it is in, if any.
        dates_are_words: whether dates pass, as those that name batches do.

    Raises:
        DataError: they are no words; one of them is shown.

    >>> require_words("site", {"01", "02", "03", "04", "05"})
    """
    where = ("" if path is None else f"{path}: ") + f"column {str(column)!r}"
    found = _what_they_are(sorted(texts), dates_are_words)
    if found is not None:
        raise DataError(
            f"{where} holds {found}; or, where these are names, make it a category "
            "(frame.astype({'name': 'category'})), or name its levels by levels="
        )
    spelt: dict[str, str] = {}
    for text in sorted(texts):
        if (other := spelt.setdefault(text.strip(), text)) != text:
            raise DataError(f"{where}: {other!r} and {text!r} differ by spaces alone; spell them alike")


def _what_they_are(texts: list[str], dates_are_words: bool) -> str | None:
    """Say what the texts are, if they are no words, and what to do."""
    stripped = [text.strip() for text in texts]
    if not dates_are_words and len(texts) >= FEWEST_NUMBERS and all(map(DATE.fullmatch, stripped)):
        return f"dates as text, such as {texts[0]!r}; turn them into numbers, such as days since the first"
    numbers = [text for text in stripped if WRITTEN.fullmatch(text) or NUMBER.fullmatch(text)]
    others = [text for text in stripped if not (WRITTEN.fullmatch(text) or NUMBER.fullmatch(text))]
    if others:
        if len(others) > MOST_OTHERS or len(numbers) < FEWEST_BESIDE_OTHERS:
            return None
        return f"numbers, and {others[0]!r} among them; leave its cell empty where a value is missing"
    marked = [text for text in numbers if not NUMBER.fullmatch(text)]
    if not marked or len(numbers) < FEWEST_NUMBERS:
        return None
    ways = "pandas.read_csv(path, thousands=',') or decimal=',' reads them"
    return f"numbers as text, such as {marked[0]!r}; write them plainly ({ways})"
