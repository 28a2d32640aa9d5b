"""A parameter store of one pair's own, in the place of Pyro's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyro
from pyro.params.param_store import StateDict


class OwnStore:
    """The part of Pyro's store that one of several pairs keeps, under names that the others have too."""

    def __init__(self) -> None:
        self._state: StateDict = {"params": {}, "constraints": {}}

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put this store in the place of Pyro's; afterwards that is as it was."""
        store = pyro.get_param_store()
        before = store.get_state()
        store.clear()
        store.set_state(self._state)
        try:
            yield
        finally:
            self._state = store.get_state()
            store.clear()
            store.set_state(before)
