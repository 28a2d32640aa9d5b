"""Programs that run with the parameters of their own modules, whoever else has the same names in Pyro's store.

Modules name their parameters by themselves: each AutoNormal has an "AutoNormal.locs.z", each PyroModule of a
class has the same names. Where Pyro's one store holds the tensor of another module under such a name, Pyro puts
it into the module at hand, which from then on is that other one: two guides in one notebook would be trained as
one. Here the tensors of other modules are out of sight while a pair runs. What was loaded into the store is no
module's, and is taken up as Pyro does.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator, Mapping

import pyro
from torch import Tensor, nn

from ppl_vae.inference.pair.held import modules_of
from ppl_vae.inference.pair.protocols import Program

# Tensors in the store that are known to be some module's, and those that were found to be nobody's.
_of_modules: weakref.WeakValueDictionary[int, nn.Parameter] = weakref.WeakValueDictionary()
_of_nobody: weakref.WeakValueDictionary[int, nn.Parameter] = weakref.WeakValueDictionary()


@contextlib.contextmanager
def own_parameters(*programs: Program, keep: bool = False) -> Iterator[None]:
    """Hide the parameters of other modules in Pyro's store; afterwards the store is as it was.

    Args:
        programs: those that run inside.
        keep: leave what the programs' modules registered, in place of others of the same names, as a training does.
    """
    store = pyro.get_param_store()
    hidden = _of_others(store._params, programs)
    constraints = {name: store._constraints[name] for name in hidden}
    for name in hidden:
        del store[name]
    before = set(store._params)
    try:
        yield
    finally:
        new = {name: leaf for name, leaf in store._params.items() if name not in before}
        registered = {name: leaf for name, leaf in new.items() if isinstance(leaf, nn.Parameter)}
        if keep:
            _of_modules.update((id(leaf), leaf) for leaf in registered.values())
        else:
            for name in registered:
                del store[name]
        for name, leaf in hidden.items():
            if name not in store._params:
                store._params[name], store._constraints[name] = leaf, constraints[name]
                store._param_to_name[leaf] = name


def _of_others(params: Mapping[str, Tensor], programs: tuple[Program, ...]) -> dict[str, nn.Parameter]:
    """The parameters that a module holds which is none of the programs' own."""
    leaves = {name: leaf for name, leaf in params.items() if isinstance(leaf, nn.Parameter)}
    if not leaves:
        return {}
    own = {id(leaf) for module in modules_of(*programs) for leaf in module._parameters.values() if leaf is not None}
    _of_modules.update((id(leaf), leaf) for leaf in leaves.values() if id(leaf) in own)
    others = {name: leaf for name, leaf in leaves.items() if id(leaf) not in own}
    known = (_of_modules, _of_nobody)
    _note_modules([leaf for leaf in others.values() if all(each.get(id(leaf)) is not leaf for each in known)])
    return {name: leaf for name, leaf in others.items() if _of_modules.get(id(leaf)) is leaf}


def _note_modules(leaves: list[nn.Parameter]) -> None:
    """Find out which of the tensors are held by a module that lives; the search goes through all of memory."""
    if not leaves:
        return
    wanted = {id(leaf): leaf for leaf in leaves}
    for holder in gc.get_referrers(*leaves):
        if isinstance(holder, dict) and _is_of_a_module(holder):
            held = {id(value) for value in holder.values()}
            _of_modules.update((key, leaf) for key, leaf in wanted.items() if key in held)
    _of_nobody.update((key, leaf) for key, leaf in wanted.items() if key not in _of_modules)


def _is_of_a_module(holder: dict[object, object]) -> bool:
    """Tell whether a dictionary is the ``_parameters`` of a module."""
    return any(
        (isinstance(owner, nn.Module) and owner._parameters is holder)
        or (isinstance(owner, dict) and owner.get("_parameters") is holder)
        for owner in gc.get_referrers(holder)
    )
