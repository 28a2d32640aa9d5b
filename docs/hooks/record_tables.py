"""A record of a measurement as tables of Markdown: names in a reader's words, no key as a program writes it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pages import plain, table, with_error

MOST_ROWS, MOST_NUMBERS, MOST_COLUMNS, MOST_IN_A_CELL, MOST_TURNED = 40, 40, 12, 12, 6
# The longest name in characters that may stand above a column, where the table can be turned.
LONGEST_HEAD = 30
# Where they are words, not parts of a name such as analytic-kl.
ABBREVIATION = re.compile(r"(?<![\w-])(cpu|elbo|gpu|kl)(?![\w-])")
# What stands at the end of the key of a standard error.
ERROR = "_stderr"
# Keys of records in the words of a reader.
WORDS = {
    "stderr": "standard error", "ms": "milliseconds", "num data": "number of data", "num samples": "draws",
    "num particles": "draws per datum", "cpu seconds": "CPU seconds", "lr": "learning rate", "dim": "dimension",
    "latent dim": "latent dimensions", "cpus": "cores", "sd": "standard deviation", "std": "standard deviation",
    "x": "times",
}  # fmt: skip
# Longer ones, in characters, are paragraphs and no cells; lists of sentences are a line each.
LONGEST_CELL, SENTENCE = 300, 60


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


def rendered(value: Any, level: int) -> str:
    """A record as tables: what is flat first, then rows of one kind, then what is nested under headings."""
    if is_records(value):
        return as_table({str(index): row for index, row in enumerate(value, 1)}, named=False)
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
    alike = of_one_kind(nested)
    text += [as_table(alike)] if alike else []
    for key, item in nested.items():
        if key not in alike:
            title = plain(heading(str(key)))
            text += [f"{'#' * level} {title}\n" if level < 6 else f"**{title}**\n", rendered(item, level + 1)]
    return "\n".join(text)


def of_one_kind(nested: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those beside others that make a table with the first of them; none where they are fewer than two."""
    rows = {key: flattened(item) for key, item in nested.items() if isinstance(item, Mapping)}
    for first in rows.values():
        alike = {
            key: nested[key] for key, row in rows.items() if len(first.keys() & row) * 2 > len(first.keys() | row)
        }
        if is_table(alike):
            return alike
    return {}


def flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without rows in it: their keys stand behind its own."""
    flat: dict[str, Any] = {}
    for key, item in row.items():
        if isinstance(item, Mapping) and not is_flat(item):
            flat |= {f"{spoken(str(key))}: {inner}": value for inner, value in flattened(item).items()}
        else:
            flat[key] = item
    return flat


def is_records(value: Any) -> bool:
    """Whether it is a list of rows with columns in common."""
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(row, Mapping) for row in value)
        and is_table({str(index): row for index, row in enumerate(value)})
    )


def is_scalar(value: Any) -> bool:
    """Whether it is one number or word."""
    return value is None or isinstance(value, str | int | float | bool)


def is_interval(value: Any) -> bool:
    """Whether it is a median between two bounds."""
    return isinstance(value, Mapping) and value.keys() == {"median", "lower", "upper"}


def is_named(value: Any) -> bool:
    """Whether it is a part by its name, with options."""
    return isinstance(value, Mapping) and "name" in value and all(map(is_flat, value.values()))


def is_flat(value: Any) -> bool:
    """Whether it fits into one cell."""
    return (
        is_scalar(value)
        or is_interval(value)
        or is_named(value)
        or (isinstance(value, list) and all(map(is_scalar, value)))
    )


def is_cell(value: Any) -> bool:
    """Whether it fits into one cell of several beside each other; many numbers do by their ends."""
    return is_flat(value) and not (
        isinstance(value, list) and len(value) > MOST_IN_A_CELL and holds_words(value[0])
    )


def is_table(value: Mapping[str, Any]) -> bool:
    """Whether it is several rows with columns in common."""
    if len(value) < 2 or not all(
        isinstance(row, Mapping) and row and not is_interval(row) for row in value.values()
    ):
        return False
    if any(is_columns(row) for row in value.values()):
        return False
    rows = [flattened(row) for row in value.values()]
    columns = {key for row in rows for key in row}
    return (
        len(columns) <= MOST_COLUMNS
        and all(is_cell(item) for row in rows for item in row.values())
        and all(len(columns & row.keys()) * 2 > len(columns) for row in rows)
    )


def is_columns(value: Mapping[str, Any]) -> bool:
    """Whether it is a few lists of equal length, such as a history by epoch."""
    lists = list(value.values())
    return len(lists) > 1 and all(
        isinstance(item, list) and all(map(is_scalar, item)) and 1 < len(item) == len(lists[0]) <= MOST_ROWS
        for item in lists
    )


def as_table(value: Mapping[str, Any], named: bool = True) -> str:
    """A row a key, or a column a key where the names of columns are the longer ones and of no other kind."""
    rows = {str(key): flattened(row) for key, row in value.items()}
    every = dict.fromkeys(key for row in rows.values() for key in row)
    if named and longest(every) > max(LONGEST_HEAD, longest(rows)) and may_be_turned(rows):
        turned = {key: {name: row.get(key) for name, row in rows.items()} for key in every}
        rows, every = turned, dict.fromkeys(rows)
    columns = [key for key in every if not is_error_of(key, every)]
    words = [any(holds_words(row.get(column)) for row in rows.values()) for column in columns]
    heads = [plain(spoken(column)) for column in columns]
    cells = [[cell(row, column) for column in columns] for row in rows.values()]
    align = "".join("l" if in_words else "r" for in_words in words)
    if not named:
        return table(heads, cells, align)
    return table(
        ("", *heads), [(plain(row_name(key)), *row) for key, row in zip(rows, cells, strict=True)], "l" + align
    )


def may_be_turned(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether rows may be columns: they are few, and all their cells are numbers without errors of their own."""
    cells = [(key, item) for row in rows.values() for key, item in row.items()]
    return len(rows) <= MOST_TURNED and all(is_number(item) and not key.endswith(ERROR) for key, item in cells)


def longest(names: Iterable[str]) -> int:
    """The characters of the longest name."""
    return max(map(len, names))


def row_name(key: str) -> str:
    """A row's name as it is, such as an estimator's; in a reader's words where a program wrote it."""
    return spoken(key) if "_" in key else key


def is_error_of(key: str, row: Mapping[str, Any]) -> bool:
    """Whether a key is the standard error of another, beside which it is written."""
    return key.endswith(ERROR) and key.removesuffix(ERROR) in row


def cell(row: Mapping[str, Any], key: str) -> str:
    """A value as text, with its standard error where the record has one."""
    value, error = row.get(key), row.get(f"{key}{ERROR}")
    if is_number(value) and is_number(error):
        return plain(with_error(value, error))
    if isinstance(value, list) and len(value) > MOST_IN_A_CELL and is_number(value[0]):
        return f"{plain_value(value[0])}, ..., {plain_value(value[-1])} ({len(value)} in all)"
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
    if is_named(value):
        options = [f"{plain(spoken(key))} {plain_value(item)}" for key, item in value.items() if key != "name"]
        return "; ".join([plain(value["name"]), *options])
    if is_interval(value):
        return "{} ({} to {})".format(*(plain_value(value[key]) for key in ("median", "lower", "upper")))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if 10_000 <= abs(value) < math.inf else f"{value:.5g}"
    return plain(value)
