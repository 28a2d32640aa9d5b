"""The plates of a pair, remembered from its first run so that a step need not look for them.

The particles' plate must stand to the left of the user's own before anything is run, and global sites that several
draws share must be known by name. Both are seen in one run without particles, once per pair. What is remembered is
compared with every run, and found out anew where it does not fit.
"""

from __future__ import annotations

import contextlib
import inspect
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.inference.pair.levels import Levels
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.wrapping import innermost


@dataclass(frozen=True)
class Learned:
    """The plates of a pair.

    Attributes:
        nesting: the dimensions that the user's plates take.
        whole: the names of its global sites.
        group_plates: the names of the model's plates other than the data's.
    """

    nesting: int = 1
    whole: frozenset[str] = frozenset()
    group_plates: frozenset[str] = frozenset()

    @staticmethod
    def of(levels: Levels) -> Learned:
        """The plates that a run has shown."""
        return Learned(levels.nesting, levels.whole, levels.group_plates)


PLAIN = Learned()
_KNOWN: weakref.WeakKeyDictionary[object, dict[tuple[object, ...], Learned]] = weakref.WeakKeyDictionary()


def recall(model: Program, guide: Program) -> Learned | None:
    """The knowledge of a pair; None where there is none."""
    owner, key = _key(model, guide)
    try:
        return _KNOWN.get(owner, {}).get(key)
    except TypeError:
        return None


def remember(model: Program, guide: Program, learned: Learned) -> None:
    """Keep it for as long as the model lives."""
    owner, key = _key(model, guide)
    with contextlib.suppress(TypeError):
        _KNOWN.setdefault(owner, {})[key] = learned


def _key(model: Program, guide: Program) -> tuple[object, tuple[object, ...]]:
    """The lasting object behind the model, and what tells its pairs apart."""
    (owner, method), (of_guide, guide_method) = lasting(model), lasting(guide)
    return owner, (method, guide_method, id(of_guide))


def lasting(program: Program) -> tuple[object, object]:
    """The object that lives as long as a program does, and its function where the program is a bound method."""
    program = innermost(program)
    # A bound method is made anew at every look.
    return (program.__self__, program.__func__) if inspect.ismethod(program) else (program, None)


def generator_states() -> tuple[Tensor, list[Tensor]]:
    """The states of torch's generators, for ``put_back``."""
    on_device = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), on_device


def put_back(states: tuple[Tensor, list[Tensor]]) -> None:
    """Give torch's generators the states that they had."""
    torch.set_rng_state(states[0])
    if states[1]:
        torch.cuda.set_rng_state_all(states[1])
