"""The verdict of a diagnostic, and the rules by which one is reached.

A figure with its error is an interval, the figure plus and minus two standard errors. "good" is said where the
whole of it is on the good side of the first limit, "bad" where the whole is beyond the second, "doubtful" where it
is beyond the first alone; where it lies across the first limit the word is "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from ppl_vae.display import card, rows_card
from ppl_vae.errors import DataError

Level = Literal["good", "doubtful", "bad", "unknown"]
ERRORS = 2.0
# What is seen at a glance, and without a colour.
MARKS: Mapping[Level, str] = {"good": "✓", "doubtful": "~", "bad": "✗", "unknown": "?"}


@dataclass(frozen=True)
class Verdict:
    """A verdict is one line of a diagnosis.

    Attributes:
        diagnostic: what was looked at, such as "Pareto k-hat".
        level: "good", "doubtful", "bad", or "unknown" where the numbers bear out no verdict.
        value: the figure that was judged.
        stderr: its standard error; NaN where it has none.
        unit: of the figure, such as "nats per datum"; empty where it is a pure number.
        threshold: what the figure was held against, and who proposed that.
        words: the verdict, one or two sentences that prove no more than the figure does.
        advice: what to try next; empty where nothing is wrong.
    """

    diagnostic: str
    level: Level
    value: float
    stderr: float = math.nan
    unit: str = ""
    threshold: str = ""
    words: str = ""
    advice: str = ""

    def __str__(self) -> str:
        error = "" if math.isnan(self.stderr) else f" ± {self.stderr:.2g}"
        unit = f" {self.unit}" if self.unit else ""
        advice = f" {self.advice}" if self.advice else ""
        return f"{self.diagnostic}: {self.value:.4g}{error}{unit} ({self.level}). {self.words}{advice}"

    @property
    def figure(self) -> str:
        """The figure with its error and unit, to the digits that the error bears out.

        >>> Verdict("Gap", "good", 0.1234, 0.011, "nats per datum").figure
        '0.123 ± 0.011 nats per datum'
        """
        if math.isnan(self.value):
            return "none"
        error = "" if math.isnan(self.stderr) else f" ± {self.stderr:.2g}"
        return f"{_rounded(self.value, self.stderr)}{error} {self.unit}".strip()

    def _repr_html_(self) -> str:
        facts = {
            "verdict": f"{MARKS[self.level]} {self.level}",
            "figure": self.figure,
            "held against": self.threshold,
            "in words": self.words,
            "what to try next": self.advice,
        }
        return card(self.diagnostic, facts)


class Verdicts(list[Verdict]):
    """Several verdicts: a list that a notebook shows as a table."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return verdict_table(f"{len(self)} verdicts", self)


def verdict_table(heading: str, verdicts: Sequence[Verdict]) -> str:
    """The HTML of verdicts, a row each; under it the advice where something is wrong, or why none is known."""
    # The mark and its word stay on one line, however narrow the page.
    rows = [(f"{MARKS[v.level]}\N{NO-BREAK SPACE}{v.level}", v.diagnostic, v.figure) for v in verdicts]
    below = [v.advice or _why(v) for v in verdicts]
    return rows_card(heading, ("verdict", "diagnostic", "figure"), rows, below=below)


def _why(verdict: Verdict) -> str:
    return verdict.words if verdict.level == "unknown" else ""


def _rounded(value: float, error: float) -> str:
    """Round to as many digits as the error bears out, where there is one."""
    if math.isnan(error) or not 0 < error < math.inf or not math.isfinite(value):
        return f"{value:.3g}"
    return f"{value:.{min(6, max(0, 1 - math.floor(math.log10(error))))}f}"


def level_of(value: float, error: float, good: float, bad: float) -> Level:
    """Choose the level of a figure that is the worse the larger it is.

    Args:
        value: the figure.
        error: its standard error; NaN where it is not known.
        good: at most this much is good.
        bad: more than this is bad.

    >>> [level_of(value, 0.05, 0.1, 0.5) for value in (-0.1, 0.1, 0.3, 0.7)]
    ['good', 'unknown', 'doubtful', 'bad']
    """
    if not math.isfinite(value) or not math.isfinite(error):
        return "unknown"
    low, high = value - ERRORS * error, value + ERRORS * error
    if low > bad:
        return "bad"
    if high <= good:
        return "good"
    return "doubtful" if low > good else "unknown"


def share_stderr(share: float, count: int) -> float:
    """The standard error of a share of ``count`` data; at 0 and 1 by Laplace's rule of succession."""
    chance = share if 0 < share < 1 else (share * count + 1) / (count + 2)
    return math.sqrt(chance * (1 - chance) / count)


def require_table(
    name: str, table: xr.Dataset, source: str, variables: Sequence[str], dims: Sequence[str] = ()
) -> None:
    """Refuse a table that ``source`` did not make, or that is over nothing.

    Raises:
        DataError: a variable or a dimension is missing, or a dimension has no length; it is named.
    """
    missing = [each for each in variables if each not in table] + [dim for dim in dims if dim not in table.dims]
    if missing:
        raise DataError(f"{name}: expected what {source} returns, found no {', '.join(missing)}")
    for dim in dims:
        if not table.sizes[dim]:
            raise DataError(f"{name}: expected what {source} returns, found nothing along {dim!r}")


def require_numbers(name: str, table: xr.Dataset, but: Sequence[str] = ()) -> None:
    """Refuse a table with a figure that is NaN or infinite, as of a model whose training has failed.

    Args:
        name: of the table, for the message.
        table: the numbers.
        but: variables that may hold some, such as those of what a model does not have.

    Raises:
        DataError: some are; the variable and their number are named.
    """
    for variable in table.data_vars:
        if table[variable].dtype.kind == "f" and variable not in but:
            require_finite(name, str(variable), table[variable])


def require_finite(name: str, variable: str, values: object) -> None:
    """Refuse figures that are NaN or infinite: nothing can be said of them, least of all that they are good.

    Raises:
        DataError: some are; the variable and their number are named.
    """
    found = np.asarray(values, dtype=np.float64)
    broken = int((~np.isfinite(found)).sum())
    if broken:
        raise DataError(f"{name}: {broken} of the {found.size} numbers of {variable!r} are NaN or infinite")
