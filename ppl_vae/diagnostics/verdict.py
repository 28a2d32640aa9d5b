"""The verdict of a diagnostic: the figure, the threshold it was held against, and what to try next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "doubtful", "bad", "unknown"]


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
