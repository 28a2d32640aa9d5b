"""The lock around Pyro's handlers, its parameter store and torch's generators, which are one per process.

Two Python threads that run programs at once would find each other's handlers on Pyro's stack and draw from each
other's streams. So whatever uses them waits until the other thread is done. The lock is re-entrant, and a process
forked while it is held starts with a lock of its own. A user's own Pyro code in another thread does not know the
lock; two processes share nothing of all this.

Where a call ends in an error or an interrupt, even one that fell between two lines of a clean-up, the
process's state is put back as the outermost call found it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pyro
import torch
from pyro.poutine.runtime import _PYRO_STACK
from torch.nn.modules import module as torch_module

from ppl_vae.registration import _switched_off

SECONDS_UNTIL_SAID = 60.0


class _Door:
    """The lock, and how many calls of the thread that holds it are inside."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0
        self.holder = ""

    def enter(self) -> None:
        if not self.lock.acquire(blocking=False) and not self.lock.acquire(timeout=SECONDS_UNTIL_SAID):
            warnings.warn(
                f"waiting for a call in thread {self.holder!r}: Pyro and torch's generators serve one thread at a "
                "time; use processes to run several at once",
                stacklevel=5,
            )
            self.lock.acquire()
        self.depth += 1
        if self.depth == 1:
            self.holder = threading.current_thread().name

    def leave(self) -> None:
        self.depth -= 1
        self.lock.release()


_door = _Door()


def _renew() -> None:
    """Renew the lock in a forked process, which has one thread and not the one that held the lock."""
    global _door
    _door = _Door()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_renew)


class exclusive(contextlib.ContextDecorator):  # noqa: N801
    """Run alone in this process; as a context manager, or as a decorator ``@exclusive()``.

    A thread that comes second waits, and says so after a minute.
    """

    def _recreate_cm(self) -> exclusive:
        # Every call of a decorated function has an entry of its own.
        return exclusive()

    def __enter__(self) -> None:
        self._door = _door
        self._door.enter()
        try:
            self._put_back = _state() if self._door.depth == 1 else None
        except BaseException:
            self._door.leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and self._put_back is not None:
                self._put_back()
        finally:
            self._door.leave()


def _state() -> Callable[[], None]:
    """Record the global state that a call must not change, and return the function that puts it back."""
    stack, hooks = list(_PYRO_STACK), dict(torch_module._global_forward_pre_hooks)
    checks = pyro.distributions.is_validation_enabled(), pyro.infer.util.is_validation_enabled()
    poutine_checks, torch_checks = pyro.poutine.util.is_validation_enabled(), _torch_checks()
    unseen, gradients, threads = _switched_off.get(), torch.is_grad_enabled(), torch.get_num_threads()
    generator = torch.get_rng_state()

    def put_back() -> None:
        _PYRO_STACK[:] = stack
        torch_module._global_forward_pre_hooks.clear()
        torch_module._global_forward_pre_hooks.update(hooks)
        pyro.distributions.enable_validation(checks[0])
        pyro.infer.util.enable_validation(checks[1])
        pyro.poutine.util.enable_validation(poutine_checks)
        torch.distributions.Distribution._validate_args = torch_checks
        _switched_off.set(unseen)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_rng_state(generator)

    return put_back


def _torch_checks() -> Any:
    return torch.distributions.Distribution._validate_args
