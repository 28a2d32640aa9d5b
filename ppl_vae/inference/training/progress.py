"""The progress bar of a run: loss, throughput and time left, in a terminal and in a notebook."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.training.callbacks import Callback, Callbacks
from ppl_vae.progress import in_notebook, watched

LIVE = "live"
SECONDS_BETWEEN_READINGS = 0.5


def told_of(callbacks: Callback | Sequence[Callback] | None, progress: bool | str | None) -> Callbacks:
    """The callbacks of a run, with the one that ``progress="live"`` asks for.

    Raises:
        ModelError: progress is another word, or a callback cannot be called.
    """
    if not isinstance(progress, str):
        return Callbacks(callbacks)
    if progress != LIVE:
        raise ModelError(f"progress must be True, False, None or {LIVE!r}, got {progress!r}")
    # Figures and tables are slow to import, and few runs draw them.
    from ppl_vae.explore.live import LiveTraining

    return Callbacks([*Callbacks(callbacks).called, LiveTraining()])


class Progress:
    """Counts data; reads the loss from the device at most twice a second.

    Args:
        total: data to be stepped over; None where unknown.
        progress: whether it is shown; None does so in a terminal and in a notebook, and "live" never, where a
            callback of its own does.
    """

    def __init__(self, total: int | None, progress: bool | str | None) -> None:
        progress = False if isinstance(progress, str) else progress
        self._open = contextlib.ExitStack()
        self._bar = self._open.enter_context(watched(total, "img", progress, by_hand=True, unit_scale=True))
        self._read_at = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def say(self, text: str) -> None:
        """Print a line above the bar; a notebook keeps the bar alone, and has the manifest for the rest."""
        if not self._bar.disable and not in_notebook():
            self._bar.write(text, file=sys.stderr)

    def advance(self, size: int, loss: Tensor) -> None:
        """Count one finished step of ``size`` data."""
        self._bar.update(size)
        now = time.monotonic()
        if not self._bar.disable and now - self._read_at > SECONDS_BETWEEN_READINGS:
            self._read_at = now
            self._bar.set_postfix_str(f"loss {loss.item():.2f}", refresh=False)

    def summarise(self, row: dict[str, float]) -> None:
        """Show the newest epoch's numbers."""
        held_out = next((name for name in ("validation_elbo", "test_elbo", "train_elbo") if name in row), "loss")
        score = f"{held_out.replace('_elbo', ' ELBO')} {row[held_out]:.2f}"
        self._bar.set_postfix_str(f"epoch {row['epoch']:.0f}, loss {row['loss']:.2f}, {score}")
