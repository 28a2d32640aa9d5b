"""Programs that observe data of their own, whatever they are given: as by ``pyro.condition``, or from a global.

Their densities are those of the held data while the guide sees others, and parts of the data would meet all of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.held import held_by, modules_of
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.trace import owner
from ppl_vae.inference.pair.wrapping import innermost

_storages: weakref.WeakKeyDictionary[object, frozenset[int]] = weakref.WeakKeyDictionary()


def require_data_of_the_call(model: Program, args: Iterable[object], observed: Mapping[str, object]) -> None:
    """Refuse an observed value of several data that is none of the arguments but one that the program holds.

    Raises:
        ModelError: the site is named.
    """
    given = {_storage(each) for each in args if isinstance(each, Tensor)}
    for name, value in observed.items():
        if not isinstance(value, Tensor) or value.numel() < 2 or _storage(value) in given:
            continue
        # One number everywhere is no data, but a density in the guise of an observation, as of zeros.
        if _storage(value) in _held(innermost(model)) and bool((value != value.flatten()[0]).any()):
            raise ModelError(
                f"site {name!r} is observed at values that the program holds, as by pyro.condition, whatever data "
                "it is given; let it observe its argument: obs=x"
            )


def _storage(value: Tensor) -> int:
    return 0 if value.layout is not torch.strided else value.untyped_storage().data_ptr()


def _held(model: Program) -> frozenset[int]:
    """Where the tensors are that a program holds, as they were when it was first asked about."""
    program = owner(model) or model
    if program not in _storages:
        tensors = [item for _, item in held_by(("", model)) if isinstance(item, Tensor)]
        buffers = [buffer for module in modules_of(model) for buffer in module.buffers()]
        _storages[program] = frozenset(map(_storage, [*tensors, *buffers])) - {0}
    return _storages[program]
