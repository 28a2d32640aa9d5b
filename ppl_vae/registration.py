"""The registration of a program's networks in Pyro's parameter store: their names, and when it happens.

Stock Pyro trains what ``pyro.module`` registers in one global store. Two models must never meet there, so
every program carries a name of its own instance; and nothing is left behind where nobody asked, so a
program registers only while a Pyro handler is listening and our own functions switch it off.

``pyro.get_param_store().load(file)`` puts tensors of an earlier process under such names. The networks take their
values at the next run of the program, and the store takes the networks' own parameters in their place, so that
what Pyro trains afterwards is the model.
"""

from __future__ import annotations

import itertools
import re
import warnings
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyro
import torch
from pyro.params import param_with_module_name
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn

from ppl_vae.errors import ModelError

_counter = itertools.count()
_switched_off: ContextVar[bool] = ContextVar("ppl_vae_unregistered", default=False)
# Names given in this process, and foreign ones that were spoken of.
_known: set[str] = set()
# The leaf that a program of this process last put under a name; what else stands there was loaded.
_placed: weakref.WeakValueDictionary[str, Tensor] = weakref.WeakValueDictionary()
_OWN_NAME = re.compile(r"(ppl_vae\.\w+\.\d+)\$\$\$")


class InstanceName:
    """A name that no other instance in the process has: a copy, or an unpickled twin, gets a new one."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.value = f"ppl_vae.{kind}.{next(_counter)}"
        _known.add(self.value)

    def __deepcopy__(self, memo: dict[int, Any]) -> InstanceName:
        return InstanceName(self.kind)

    def __reduce__(self) -> tuple[type[InstanceName], tuple[str]]:
        return InstanceName, (self.kind,)


def register(name: InstanceName, module: nn.Module) -> None:
    """Show the module's parameters to the Pyro handlers that are listening, if any.

    Raises:
        ModelError: the store was loaded with tensors of other shapes under this name.
    """
    store, listening = pyro.get_param_store()._params, am_i_wrapped() and not _switched_off.get()
    if not (store or listening):
        # Nothing was loaded and nobody looks: so it is in every step of ``fit`` on a pair of ours.
        return
    key, leaf = next(((k, p) for k, p in module.named_parameters() if p.requires_grad), ("", None))
    first = param_with_module_name(name.value, key)
    if leaf is not None and store.get(first, leaf) is not leaf:
        _reconcile(name.value, module)
    if listening:
        pyro.module(name.value, module)
        if _placed.get(first) is not leaf:
            _placed.update(_leaves(name.value, module))
            _say_strangers(store)


@contextmanager
def unregistered() -> Iterator[None]:
    """Run programs without a trace in the global parameter store."""
    token = _switched_off.set(True)
    try:
        yield
    finally:
        _switched_off.reset(token)


def _leaves(name: str, module: nn.Module) -> dict[str, Tensor]:
    """The trainable leaves under their names in the store."""
    return {
        param_with_module_name(name, key): leaf for key, leaf in module.named_parameters() if leaf.requires_grad
    }


def _reconcile(name: str, module: nn.Module) -> None:
    """Give the module the values that were loaded under its name, and the store the module's own leaves."""
    store, own = pyro.get_param_store(), _leaves(name, module)
    other = {full: store._params[full] for full, leaf in own.items() if store._params.get(full, leaf) is not leaf}
    # A leaf that the module itself had before is no news: its parameters were replaced since.
    loaded = {full: value for full, value in other.items() if _placed.get(full) is not value}
    for full, value in loaded.items():
        if value.shape != own[full].shape:
            raise ModelError(
                f"param {full!r}: the parameter store holds {list(value.shape)} under this name, the network has "
                f"{list(own[full].shape)}: the store is of another model; call pyro.clear_param_store()"
            )
    for full, value in other.items():
        leaf = own[full]
        if full in loaded:
            with torch.no_grad():
                leaf.copy_(value)
        store._param_to_name.pop(value, None)
        store._params[full] = leaf
        store._param_to_name[leaf] = full
        _placed[full] = leaf


def _say_strangers(names: Iterable[str]) -> None:
    """Warn once of parameters that a program of another process left, and that no program here reads."""
    found = {match.group(1) for match in map(_OWN_NAME.match, names) if match}
    strangers = sorted(found - _known)
    if strangers:
        _known.update(strangers)
        warnings.warn(
            f"the parameter store holds {strangers[0]!r}, of another process: its values reach no "
            "network made so far. Make models in the same order as there, or use vae.save and pv.load",
            stacklevel=5,
        )
