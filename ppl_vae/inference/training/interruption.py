"""Ctrl-C and SIGTERM during training: they wait for the end of the step, so that nothing is left half done.

An interrupt that falls inside Pyro's or torch's own clean-up leaves handlers on Pyro's stack, and everything
after it fails. So the signals are noted when they come and delivered between two steps. A second one is delivered
at once, for a step or a loader that does not end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from ppl_vae.errors import RankError

if TYPE_CHECKING:
    import pandas as pd


class FitInterrupted(KeyboardInterrupt):
    """Training was interrupted; the pair is in evaluation mode, with the weights of the last whole epoch.

    Attributes:
        history: of the whole epochs, as in ``FitResult.history``.
    """

    def __init__(self, words: str, history: pd.DataFrame) -> None:
        super().__init__(words)
        self.history = history


class Terminated(BaseException):
    """SIGTERM came while training; the process ends by it once the checkpoint is written."""


class Interruptions:
    """Notes the signals that would interrupt training; ``deliver`` raises what they stand for.

    Outside the main thread, where Python delivers no signals, it does nothing.

    Args:
        terminate: whether SIGTERM waits too, so that a checkpoint can be written.
        whole_epochs: whether a first Ctrl-C waits for the end of the epoch, which ``asks_to_stop`` then tells; a
            second one is delivered at once.
    """

    def __init__(self, terminate: bool, whole_epochs: bool = False) -> None:
        self.terminate, self.whole_epochs = terminate, whole_epochs
        self.arrived: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in self._watched()}
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # Where another rank has gone, who started them ends this one too, and the error says why.
        gone = isinstance(error, RankError)
        if self.arrived == signal.SIGTERM and self._before[self.arrived] is signal.SIG_DFL and not gone:
            os.kill(os.getpid(), signal.SIGTERM)
        if error is None:
            self.deliver()

    def deliver(self) -> None:
        """Let a signal that has arrived, if any, take its effect between two steps.

        Raises:
            KeyboardInterrupt: Ctrl-C, or whatever else the handler that was found raises.
            Terminated: SIGTERM, where nobody handles it.
        """
        if self.arrived is not None and not self._waits():
            self._deliver(self.arrived, sys._getframe())

    def asks_to_stop(self) -> bool:
        """Tell, once, whether a Ctrl-C waited for the end of this epoch."""
        waited = self._waits()
        if waited:
            self.arrived = None
        return waited

    def _waits(self) -> bool:
        return self.whole_epochs and self.arrived is not None and self.arrived != signal.SIGTERM

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[number]
        if handler is signal.SIG_DFL:
            # It stays noted: the process ends by the signal itself, once everything is put away.
            raise Terminated
        self.arrived = None
        handler(number, frame)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.arrived is not None:
            self._deliver(number, frame)
        self.arrived = number

    def _watched(self) -> list[int]:
        """Ctrl-C, whatever else raises KeyboardInterrupt as it does, and SIGTERM where asked for."""
        found: list[int] = [
            number for number in signal.valid_signals() if signal.getsignal(number) is signal.default_int_handler
        ]
        if signal.SIGINT not in found and callable(signal.getsignal(signal.SIGINT)):
            found.append(signal.SIGINT)
        handler = signal.getsignal(signal.SIGTERM)
        if self.terminate and (handler is signal.SIG_DFL or callable(handler)):
            found.append(signal.SIGTERM)
        return found
