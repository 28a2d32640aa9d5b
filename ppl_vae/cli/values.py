"""Parse values that are typed in a shell into Python values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

PYTHONS: Mapping[str, Any] = {"None": None, "True": True, "False": False}


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


def parse_pairs(option: str, pairs: Sequence[str]) -> dict[str, Any]:
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


# What a recipe is given in another way, and which.
OF_THE_RECIPE = {"name": "the argument RECIPE", "event_shape": "the shape of --data", "data": "--data"}


def refuse_taken(option: str, given: Mapping[str, Any], taken: Mapping[str, str]) -> None:
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
        return None if text is None else float(text)
    except ValueError:
        return text
