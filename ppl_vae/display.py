"""Compact HTML summaries of objects, for the notebooks that show them.

A card is a heading, a list of facts and perhaps a curve. Everything that comes from outside is escaped. Colours are
those of the page around it, so that a card reads on light and on dark; there is no script and no style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

FRAME = (
    "display:inline-block;max-width:44em;padding:.6em 1em;border:1px solid rgba(128,128,128,.45);"
    "border-radius:6px;color:inherit;font-size:.95em;line-height:1.4"
)
GRID = "display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1em 1.2em;margin:.4em 0 0;padding:0"
# Jupyter's style sheet floats what it finds in a list of definitions, gives it widths, and stripes tables.
RESET = "margin:0;padding:0;float:none;clear:none;width:auto;max-width:none;text-align:left"
LABEL = f"{RESET};opacity:.7;font-weight:normal"
VALUE = f"{RESET};overflow-wrap:anywhere;font-variant-numeric:tabular-nums"
TABLE = (
    "border-collapse:collapse;border:none;margin:.4em 0 0;font-size:inherit;table-layout:auto;display:table;"
    "width:auto;color:inherit"
)
CELL = (
    "padding:.15em .9em .15em 0;border:none;text-align:left;vertical-align:top;white-space:normal;background:none"
)
WIDTH, HEIGHT, MARGIN = 220, 44, 3


def card(heading: str, facts: Mapping[str, object], curve: Sequence[float] = (), curve_name: str = "") -> str:
    """The HTML of a summary.

    Args:
        heading: what the object is.
        facts: values by their labels, written by ``in_words``; None and empty ones are left out.
        curve: numbers to draw as a line, from left to right; those that are not finite are left out.
        curve_name: what the curve is.
    """
    written = {label: in_words(value) for label, value in facts.items()}
    rows = "".join(
        f'<dt style="{LABEL}">{escape(label)}</dt><dd style="{VALUE}">{escape(text)}</dd>'
        for label, text in written.items()
        if text
    )
    picture = _line(curve, curve_name)
    return (
        f'<div style="{FRAME}"><strong>{escape(heading)}</strong>'
        f'<dl style="{GRID}">{rows}{picture}</dl></div>'
    )  # fmt: skip


def rows_card(
    heading: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    note: str = "",
    below: Sequence[str] = (),
) -> str:
    """The HTML of a small table with a heading.

    Args:
        heading: what the rows are.
        columns: their names.
        rows: values, written by ``in_words``; a column without a word is left out.
        note: a sentence below the table.
        below: a sentence under each row, over its whole width; an empty one is left out.
    """
    told = [i for i, _ in enumerate(columns) if not rows or any(in_words(row[i]) for row in rows)]
    columns, rows = [columns[i] for i in told], [[row[i] for i in told] for row in rows]
    head = "".join(f'<th style="{CELL};opacity:.7;font-weight:normal">{escape(name)}</th>' for name in columns)
    under = [_under(sentence, len(columns)) for sentence in below] or [""] * len(rows)
    body = "".join(
        f'<tr style="background:none;border:none">{"".join(_cell(value) for value in row)}</tr>{sentence}'
        for row, sentence in zip(rows, under, strict=True)
    )
    end = f'<div style="margin:.4em 0 0">{escape(note)}</div>' if note else ""
    return (
        f'<div style="{FRAME}"><strong>{escape(heading)}</strong><div style="overflow-x:auto">'
        # A class of its own keeps it out of what pages do to every table that has none, such as wrapping it.
        f'<table class="ppl-vae" style="{TABLE}"><thead style="border:none">'
        f'<tr style="background:none;border:none">{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"{end}</div>"
    )


def _under(sentence: str, width: int) -> str:
    """A row of one cell, which has room on a phone where a column would not."""
    if not sentence:
        return ""
    cell = f'<td colspan="{width}" style="{CELL};padding-left:1.2em;opacity:.8">{escape(sentence)}</td>'
    return f'<tr style="background:none;border:none">{cell}</tr>'


def _cell(value: object) -> str:
    return f'<td style="{CELL};font-variant-numeric:tabular-nums">{escape(in_words(value))}</td>'


def in_words(value: object) -> str:
    """Write a value, such as one of a JSON configuration, as a person does.

    >>> in_words({"name": "mlp", "hidden": [200, 100], "activation": "relu"})
    'mlp (hidden 200 x 100, activation relu)'
    >>> in_words(134165), in_words(-21.25), in_words(None)
    ('134,165', '-21.25', '')
    """
    if isinstance(value, Mapping):
        name = value.get("name", "")
        options = ", ".join(f"{spaced(k)} {in_words(v)}" for k, v in value.items() if k != "name" and v is not None)
        return f"{name} ({options})" if name and options else str(name or options)
    if isinstance(value, list | tuple):
        return " x ".join(map(in_words, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def spaced(name: str) -> str:
    """Turn a name of Python's into words."""
    return str(name).replace("_", " ")


def with_error(value: float, stderr: float, unit: str = "") -> str:
    """Write a value to the second digit of its standard error, where it has one.

    >>> with_error(-20.12345, 0.0123, "nats")
    '-20.123 ± 0.012 nats'
    >>> with_error(-20.12345, float("nan"))
    '-20.123'
    """
    if not 0 < stderr < math.inf:
        return f"{value:.3f} {unit}".strip()
    digits = min(6, max(0, 1 - math.floor(math.log10(stderr))))
    return f"{value:.{digits}f} ± {stderr:.{digits}f} {unit}".strip()


def _line(curve: Sequence[float], name: str) -> str:
    """A row of the list with the curve as SVG; nothing for fewer than two points."""
    curve = curve[:: -max(1, len(curve) // WIDTH)][::-1]
    points = [(index, float(value)) for index, value in enumerate(curve) if math.isfinite(value)]
    if len(points) < 2:
        return ""
    low, high = min(value for _, value in points), max(value for _, value in points)
    across, up = (WIDTH - 2 * MARGIN) / (len(curve) - 1), (HEIGHT - 2 * MARGIN) / ((high - low) or 1.0)
    path = " ".join(f"{MARGIN + across * i:.1f},{HEIGHT - MARGIN - up * (value - low):.1f}" for i, value in points)
    label = f"{name}, from {points[0][1]:.6g} to {points[-1][1]:.6g}"
    return (
        f'<dt style="{LABEL}">{escape(name)}</dt><dd style="{VALUE}">'
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg></dd>'
    )
