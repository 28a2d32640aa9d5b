"""Under which name a program's networks appear in Pyro's parameter store, and when they do at all.

Stock Pyro trains what ``pyro.module`` registers in one global store. Two models must never meet there, so
every program carries a name of its own instance; and nothing is left behind where nobody asked, so a
program registers only while a Pyro handler is listening and our own functions switch it off.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyro
from pyro.poutine.runtime import am_i_wrapped
from torch import nn

_counter = itertools.count()
_switched_off: ContextVar[bool] = ContextVar("ppl_vae_unregistered", default=False)


class InstanceName:
    """A name that no other instance in the process has: a copy, or an unpickled twin, gets a new one."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.value = f"ppl_vae.{kind}.{next(_counter)}"

    def __deepcopy__(self, memo: dict[int, Any]) -> InstanceName:
        return InstanceName(self.kind)

    def __reduce__(self) -> tuple[type[InstanceName], tuple[str]]:
        return InstanceName, (self.kind,)


def register(name: InstanceName, module: nn.Module) -> None:
    """Show the module's parameters to the Pyro handlers that are listening, if any."""
    if am_i_wrapped() and not _switched_off.get():
        pyro.module(name.value, module)


@contextmanager
def unregistered() -> Iterator[None]:
    """Run programs without a trace in the global parameter store."""
    token = _switched_off.set(True)
    try:
        yield
    finally:
        _switched_off.reset(token)
