"""The progress of long work on one line: how far it is, how fast it goes, and the time left.

In a terminal the line is tqdm's. In a notebook it is one output that is replaced as the work goes on, so that the
stored page holds its last state alone; that needs no ipywidgets. Where nobody watches, as in a script whose errors
go to a file, nothing is shown unless it is asked for.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from tqdm.std import tqdm

# Of a notebook's line, in characters; and the seconds between two of its states.
WIDTH, SECONDS = 100, 0.5

_WATCHED: ContextVar[tqdm | None] = ContextVar("ppl_vae_progress", default=None)


class NotebookLine(tqdm):
    """A progress bar as one output of a notebook's cell."""

    def __init__(self, **options: object) -> None:
        self._handle: Any = None
        super().__init__(file=io.StringIO(), ncols=WIDTH, mininterval=SECONDS, ascii=False, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show the line, in the place of the one before."""
        from IPython.display import display

        text = {"text/plain": str(self) if msg is None else msg}
        if self._handle is None:
            self._handle = display(text, raw=True, display_id=True)
        else:
            self._handle.update(text, raw=True)
        return True


def in_notebook() -> bool:
    """Tell whether a kernel runs the process, whose front end shows outputs by cell."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def is_wanted(progress: bool | None) -> bool:
    """Tell whether progress is shown: as asked for, or where a terminal or a notebook shows it to somebody."""
    return bool(progress) if progress is not None else in_notebook() or sys.stderr.isatty()


@contextlib.contextmanager
def watched(
    total: int | None, unit: str, progress: bool | None = None, by_hand: bool = False, **options: object
) -> Iterator[tqdm]:
    """Show the progress of the work inside, which ``advance`` counts.

    Work inside work that is watched already has no line of its own, nor does it count in the outer one.

    Args:
        total: how much there is to do; None where unknown.
        unit: what is counted.
        progress: whether it is shown; None does so in a terminal and in a notebook.
        by_hand: ``update`` of the bar alone counts, and no ``advance`` inside.
        **options: of tqdm.
    """
    hidden = _WATCHED.get() is not None or not is_wanted(progress)
    kind = NotebookLine if in_notebook() and not hidden else tqdm
    if kind is tqdm:
        options["dynamic_ncols"] = True
    with kind(total=total, unit=unit, disable=hidden, **options) as bar:
        before = _WATCHED.set(tqdm(disable=True) if by_hand else bar)
        try:
            yield bar
        finally:
            _WATCHED.reset(before)


def advance(number: int = 1) -> None:
    """Count work that is done, where it is watched."""
    bar = _WATCHED.get()
    if bar is not None:
        bar.update(number)
