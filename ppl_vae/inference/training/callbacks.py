"""Callbacks of ``fit``: what is called with every row of the history, and may end the run.

A callback is any callable of one row, a dict: epoch, step, the objective as loss, the plain ELBO with its terms as
in ``FitResult.history``, seconds, and data_per_second of the whole epoch. It returns None, or "stop" to end the
run after this epoch. One with a method ``close`` has it called when the run ends, however it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.reseeding import noise_kept

Row = dict[str, float]
Callback = Callable[[Row], str | None]
STOP = "stop"


@runtime_checkable
class Closable(Protocol):
    """A callback that holds something open while the run goes on."""

    def close(self) -> None:
        """Let go of it."""


class Callbacks:
    """The callbacks of one run.

    Args:
        called: by ``fit``'s caller, in order.

    Raises:
        ModelError: one cannot be called.
    """

    def __init__(self, called: Callback | Sequence[Callback] | None) -> None:
        several = (called,) if callable(called) else called
        self.called: tuple[Callback, ...] = tuple(several or ())
        for callback in self.called:
            if not callable(callback):
                raise ModelError(f"callbacks: expected functions of a row of the history, got {callback!r}")

    def tell(self, row: Row, num_data: int) -> str | None:
        """Call all with a row; the reason to stop where one says so.

        Raises:
            ModelError: one returned neither None nor "stop".
        """
        reason = None
        for callback in self.called:
            # A callback that seeds torch, to draw the same pictures, would have every epoch draw the same noise.
            with noise_kept():
                answer = callback({**row, "data_per_second": num_data / max(row["seconds"], 1e-9)})
            if answer is not None and answer != STOP:
                raise ModelError(f"callback {_name(callback)}: expected None or {STOP!r}, got {answer!r}")
            if answer == STOP and reason is None:
                reason = f"callback {_name(callback)} after epoch {row['epoch']}"
        return reason

    def __enter__(self) -> Callbacks:
        return self

    def __exit__(self, *_: object) -> None:
        for callback in self.called:
            if isinstance(callback, Closable):
                callback.close()


def _name(callback: Callback) -> str:
    named: object = callback
    return named.__qualname__ if isinstance(named, Named) else type(callback).__name__


@runtime_checkable
class Named(Protocol):
    """A function, which has a name."""

    __qualname__: str
