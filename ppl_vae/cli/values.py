"""Parse values that are typed in a shell into Python values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import typer

T = TypeVar("T")
PYTHONS: Mapping[str, object] = {"None": None, "True": True, "False": False}


def parse_value(text: str) -> Any:
    """Parse a number, true, false, null, list or object where the text is one in JSON, else keep the text.

    None, True and False are taken as Python spells them, too.

    >>> parse_value("4"), parse_value("mlp"), parse_value('{"name": "gaussian", "sigma": 0.1}')
    (4, 'mlp', {'name': 'gaussian', 'sigma': 0.1})
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return PYTHONS.get(text, text)


def parse_pairs(option: str, pairs: Sequence[str]) -> dict[str, object]:
    """Parse the values of a repeated option KEY=VALUE.

    Raises:
        typer.BadParameter: one of them has no key.

    >>> parse_pairs("--set", ["beta=4", "elbo=analytic-kl"])
    {'beta': 4, 'elbo': 'analytic-kl'}
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{option}: expected KEY=VALUE, found {pair!r}")
        found[key.strip().replace("-", "_")] = parse_value(value)
    return found


def integer_or_none(text: str) -> int | None:
    """Parse an integer, or None as Python writes it, which is the option left out.

    Raises:
        typer.BadParameter: it is neither.

    >>> integer_or_none("3"), integer_or_none("None")
    (3, None)
    """
    return _parsed_or_none(int, "integer", text)


def count_or_none(text: str) -> int | None:
    """Parse an integer of at least 1, or None.

    Raises:
        typer.BadParameter: it is neither.
    """
    number = integer_or_none(text)
    if number is not None and number < 1:
        raise typer.BadParameter(f"{number} is not in the range x>=1.")
    return number


def number_or_none(text: str) -> float | None:
    """Parse a number, or None as Python writes it.

    Raises:
        typer.BadParameter: it is neither.
    """
    return _parsed_or_none(float, "number", text)


def text_or_none(text: str | None) -> str | None:
    """Take None as Python writes it for the option left out, and any other text as it is."""
    return None if text == "None" else text


def _parsed_or_none(parse: Callable[[str], T], kind: str, text: str) -> T | None:
    if text == "None":
        return None
    try:
        return parse(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a valid {kind}, nor None.") from None


# What a recipe is given in another way, and which.
OF_THE_RECIPE = {"name": "the argument RECIPE", "event_shape": "the shape of --data", "data": "--data"}


def refuse_taken(option: str, given: Mapping[str, object], taken: Mapping[str, str]) -> None:
    """Refuse the keys of a repeated option that are settled in another way.

    Raises:
        typer.BadParameter: one of them is; the way is named.
    """
    for key in given:
        if key in taken:
            raise typer.BadParameter(f"{option} {key}: {key} is settled by {taken[key]}")


def parse_validation(text: str | None) -> float | str | None:
    """Parse a fraction, or keep a name as it is."""
    try:
        return None if text in (None, "None") else float(text)
    except ValueError:
        return text
