"""A warning of ``pyro.param`` sites that another pair trained: one name is one parameter in Pyro's store.

A second pair with a site of that name starts from the first one's value and moves it, so that the first one's
numbers change. Pyro means it so, and a guide may be wanted for two models; but it also happens to whoever fits two
variants of a program in one notebook.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ppl_vae.inference.pair.learned import lasting
from ppl_vae.inference.pair.protocols import Program


@dataclass(frozen=True)
class _Trained:
    """The tensor that a fit left under a name, and the programs that it was fitted with."""

    leaf: weakref.ref[Tensor]
    programs: tuple[weakref.ref[object], ...]

    def shared_with(self, leaf: Tensor, programs: tuple[Program, ...]) -> bool:
        """Tell whether the tensor is this one, and none of the programs is one of these."""
        own = {id(lasting(program)[0]) for program in programs}
        return self.leaf() is leaf and all(id(program()) not in own for program in self.programs)


_trained: dict[str, _Trained] = {}


def warn_of_shared_names(store: Mapping[str, Tensor], *programs: Program) -> None:
    """Warn where a site begins with the value that a fit of other programs left."""
    known = {name: _trained[name] for name in store if name in _trained}
    shared = [name for name, trained in known.items() if trained.shared_with(store[name], programs)]
    if shared:
        warnings.warn(
            f"param {shared[0]!r} has been trained with other programs, whose it stays by its name: this run "
            "begins at its value, and their numbers will change with it; give it another name, or call "
            "pyro.clear_param_store() before, if they are not needed any more",
            stacklevel=5,
        )


def note_trained(store: Mapping[str, Tensor], *programs: Program) -> None:
    """Remember which programs a fit trained these sites with."""
    held = tuple(weakref.ref(lasting(program)[0]) for program in programs)
    _trained.update((name, _Trained(weakref.ref(leaf), held)) for name, leaf in store.items())
