"""The objects that Python code can reach from a program, each once, with a name for messages.

A program is a function, a method, an nn.Module or any callable. It holds its closure, its defaults, the globals
that its code names, the object it is a method of, and what is in the attributes, lists and dicts of all those.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from ppl_vae.declared import instance_attributes

# Beyond this many objects the rest is left out: somebody's whole application may hang on an attribute. So is what
# is in collections larger than this, which are data and hold no programs.
MOST, LARGEST = 20_000, 1_000
# Libraries whose code keeps no state of the user's.
_LIBRARIES = {"torch", "pyro", "numpy", "pandas", "scipy", "ppl_vae", *sys.stdlib_module_names} - {"__main__"}
# Of those, the ones whose objects hold what a user put into them.
_ENTERED = {"torch", "pyro", "ppl_vae"}
_EMPTY = object()


def held_by(*roots: tuple[str, object]) -> Iterator[tuple[str, object]]:
    """Every object that is reached from the named roots, breadth first; roots first."""
    waiting = deque(roots)
    seen: set[int] = set()
    while waiting and len(seen) < MOST:
        name, item = waiting.popleft()
        if id(item) in seen or _is_plain(item):
            continue
        seen.add(id(item))
        yield name, item
        waiting.extend(parts_of(name, item))


def modules_of(*programs: object) -> list[nn.Module]:
    """Every nn.Module that programs hold, each once; those that contain others come first."""
    modules = [item for _, item in held_by(*(("", program) for program in programs)) if isinstance(item, nn.Module)]
    return list({id(part): part for module in modules for part in module.modules()}.values())


def parts_of(name: str, item: object) -> list[tuple[str, object]]:
    """The objects that an object holds itself, by name."""
    if inspect.ismethod(item):
        return [(_kind(item.__self__), item.__self__), (name, item.__func__)]
    if isinstance(item, functools.partial):
        return [(name, item.func), (name, list(item.args)), (name, item.keywords)]
    if isinstance(item, types.FunctionType):
        return _of_function(item) if is_users(item) else _closure(item)
    if isinstance(item, dict | list | tuple | set | frozenset | deque):
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        return [(f"{name}[{key!r}]", value) for key, value in pairs] if len(item) <= LARGEST else []
    if isinstance(item, property):
        return [(name, getter) for getter in (item.fget,) if getter is not None]
    if isinstance(item, staticmethod | classmethod):
        return [(name, item.__func__)]
    if isinstance(item, type):
        return [(f"{item.__name__}.{key}", value) for key, value in vars(item).items()] if is_users(item) else []
    return _of_instance(name, item)


def attributes(item: object) -> dict[str, object]:
    """The attributes of an instance, without what torch keeps of a module's own."""
    values = {**instance_attributes(item), **_slots(item)}
    if isinstance(item, nn.Module):
        # What the optimiser moves, what has names of its own, and torch's bookkeeping.
        of_torch = {"_parameters", "_buffers", "_modules", "training"}
        values = {key: value for key, value in values.items() if key not in of_torch and "_hooks" not in key}
    return values


def _slots(item: object) -> dict[str, object]:
    """The attributes in slots, which are no dictionary: those that are set."""
    filled: dict[str, object] = {}
    for cls in type(item).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            # A slot is known by its name alone, and may be empty.
            value = getattr(item, slot, _EMPTY)
            if slot not in ("__dict__", "__weakref__") and value is not _EMPTY:
                filled[slot] = value
    return filled


def globals_named(function: types.FunctionType) -> dict[str, object]:
    """The globals that a function's code, and the functions inside it, name."""
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}


def is_users(item: type | types.FunctionType) -> bool:
    """Tell whether a function or class is the user's, not a library's."""
    return str(item.__module__ or "builtins").partition(".")[0] not in _LIBRARIES


def _of_function(function: types.FunctionType) -> list[tuple[str, object]]:
    held = _closure(function)
    held += [(f"the global {name!r}", value) for name, value in globals_named(function).items()]
    held += [(f"a default of {function.__name__}", value) for value in function.__defaults__ or ()]
    held += [(f"a default of {function.__name__}", value) for value in (function.__kwdefaults__ or {}).values()]
    return held + [(f"{function.__name__}.{key}", value) for key, value in vars(function).items()]


def _closure(function: types.FunctionType) -> list[tuple[str, object]]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return [(f"the closure's {name!r}", cell) for name, cell in cells]


def _of_instance(name: str, item: object) -> list[tuple[str, object]]:
    if isinstance(item, types.CellType):
        return [(name, value) for value in cell_value(item)]
    if isinstance(item, types.ModuleType | torch.Tensor | np.ndarray) or not _is_entered(item):
        return []
    held = [(f"{_kind(item)}.{key}", value) for key, value in attributes(item).items()]
    if isinstance(item, nn.Module):
        held += [(f"{name}.{key}" if name else key, value) for key, value in item.named_children()]
    # The methods of the user's own classes name globals, and their classes keep state.
    return held + [(cls.__name__, cls) for cls in type(item).__mro__ if is_users(cls)]


def cell_value(cell: types.CellType) -> list[object]:
    """The content of a cell of a closure: nothing where it is still empty."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _kind(item: object) -> str:
    return type(item).__name__


def _is_entered(item: object) -> bool:
    library = type(item).__module__.partition(".")[0]
    return library in _ENTERED or library not in _LIBRARIES or isinstance(item, types.SimpleNamespace)


def _is_plain(item: object) -> bool:
    return item is None or isinstance(item, str | bytes | int | float | complex | torch.Size | torch.dtype)
