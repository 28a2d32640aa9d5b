"""State of programs that moves from call to call: a counter, a temperature, a moving average outside the buffers.

A captured step replays tensor work; what Python keeps would stand still. So everything that the programs hold is
remembered before and after two eager steps on the same batch, weights and draws: plain values, collections,
tensors, arrays and generators, in attributes, closures, globals and classes. What no such look can see, such as a
clock, shows in the two steps' numbers (``captured.agreement``).
"""

from __future__ import annotations

import operator
import random
import types
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppl_vae.declared import instance_attributes
from ppl_vae.inference.pair.held import attributes, cell_value, globals_named, held_by, is_users

# Tensors, arrays and collections of at most this many numbers are copied, to be compared and put back.
COPIED = 1 << 20
# How deep two objects, of which one took the other's place, are compared.
DEPTH = 4
_PLAIN = (str, bytes, int, float, complex, type(None))
_NOTHING = object()


@dataclass(frozen=True)
class Held:
    """The content of one object at one moment: its values by key, and the numbers in its tensors and arrays."""

    name: str
    item: object
    values: dict[Any, Any]
    numbers: dict[object, tuple[int | None, object]]

    def changes(self, later: Held) -> Iterator[tuple[str, bool]]:
        """Describe what has changed in it since, and say whether that is a plain value."""
        for key in [*self.values, *(key for key in later.values if key not in self.values)]:
            old, new = self.values.get(key, _NOTHING), later.values.get(key, _NOTHING)
            if key in self.numbers and key in later.numbers:
                same = _same_numbers((old, *self.numbers[key]), (new, *later.numbers[key]))
            else:
                same = _same(old, new, DEPTH)
            if not same:
                yield self._words(key), isinstance(old, _PLAIN) or isinstance(new, _PLAIN)

    def put_back(self) -> None:
        """Let it hold again what it held, as far as Python allows."""
        now = values_of(self.item)
        if now.keys() != self.values.keys() or any(now[key] is not old for key, old in self.values.items()):
            _write(self.item, self.values)
        for key, (_, copied) in self.numbers.items():
            if copied is not None and not _equal(self.values[key], copied):
                _copy_into(self.values[key], copied)

    def _words(self, key: Any) -> str:
        if key == "" or key is _NOTHING:
            return self.name
        if isinstance(self.item, types.FunctionType):
            return f"the global {key!r}" if isinstance(key, str) else ".".join(key)
        if isinstance(self.item, dict | list | deque):
            return f"{self.name}[{key!r}]"
        return f"{(self.item if isinstance(self.item, type) else type(self.item)).__name__}.{key}"


Memory = dict[int, Held]


def remember(programs: Iterable[object], trained: Iterable[Tensor]) -> Memory:
    """Record what programs hold now, by the id of each object.

    Args:
        programs: model, guide and objective.
        trained: weights and buffers, which are put back otherwise.
    """
    left_out = {id(tensor) for tensor in trained}
    memory: Memory = {}
    roots = [("", program) for program in programs]
    for name, item in held_by(*roots, ("Python's random numbers", random), ("NumPy's random numbers", np.random)):
        values = values_of(item)
        arrays = {
            key: v for key, v in values.items() if isinstance(v, Tensor | np.ndarray) and id(v) not in left_out
        }
        if values:
            numbers = {key: (_version(value), _copied(value)) for key, value in arrays.items()}
            memory[id(item)] = Held(name, item, values, numbers)
    return memory


def moved(before: Memory, between: Memory, after: Memory) -> str | None:
    """Describe what two calls have changed: a plain value in either of them, or anything in the second.

    A tensor that only the first call changes is one that is kept to be looked at.
    """
    first = (name for name, is_plain in _changes(before, between) if is_plain)
    second = (name for name, _ in _changes(between, after))
    return next(first, None) or next(second, None)


def changed(before: Memory, after: Memory) -> str | None:
    """Describe the first thing that is another than before, or None."""
    return next((name for name, _ in _changes(before, after)), None)


def put_back(memory: Memory) -> None:
    """Let the programs hold what they held when they were remembered."""
    for held in memory.values():
        held.put_back()


def _changes(before: Memory, after: Memory) -> Iterator[tuple[str, bool]]:
    for key, held in before.items():
        if key in after:
            yield from held.changes(after[key])


def values_of(item: Any) -> dict[Any, Any]:
    """The values that an object holds itself and that may change later; empty where there are none."""
    if item is random or isinstance(item, random.Random):
        return {"": item.getstate()}
    if item is np.random or isinstance(item, np.random.RandomState):
        return {"": item.get_state()}
    if isinstance(item, np.random.Generator):
        return {"": item.bit_generator.state}
    if isinstance(item, torch.Generator):
        return {"": item.get_state()}
    if isinstance(item, types.CellType):
        return dict(zip([""], cell_value(item), strict=False))
    if isinstance(item, types.GeneratorType):
        return {"": None if item.gi_frame is None else (item.gi_frame.f_lasti, dict(item.gi_frame.f_locals))}
    if isinstance(item, types.FunctionType):
        named = globals_named(item) if is_users(item) else {}
        values = {key: value for key, value in named.items() if not _is_code(value)}
        return values | {(item.__name__, key): value for key, value in vars(item).items()}
    if isinstance(item, type):
        return {k: v for k, v in vars(item).items() if not (_is_code(v) or k[:2] == "__")} if is_users(item) else {}
    if isinstance(item, dict | list | deque | set):
        pairs = item.items() if isinstance(item, dict) else enumerate(item if len(item) <= COPIED else ())
        return {"": frozenset(item)} if isinstance(item, set) else dict(pairs) or {_NOTHING: None}
    if type(item).__module__ in ("builtins", "itertools"):
        # Iterators: how much is left of a list's, where a count stands.
        left = operator.length_hint(item, -1) if isinstance(item, Iterator) else -1
        return {"": repr(item) if left < 0 else left} if isinstance(item, Iterator) else {}
    if isinstance(item, types.ModuleType | Tensor | np.ndarray):
        return {}
    return attributes(item) | ({**item._buffers, **item._parameters} if isinstance(item, nn.Module) else {})


def _write(item: object, values: dict[Any, Any]) -> None:
    """Put values back where ``values_of`` read them."""
    if isinstance(item, random.Random) or item is random:
        item.setstate(values[""])
    elif isinstance(item, np.random.RandomState) or item is np.random:
        item.set_state(values[""])
    elif isinstance(item, np.random.Generator):
        item.bit_generator.state = values[""]
    elif isinstance(item, torch.Generator):
        item.set_state(values[""])
    elif isinstance(item, types.CellType):
        item.cell_contents = values[""]
    elif isinstance(item, types.FunctionType):
        item.__globals__.update({key: value for key, value in values.items() if isinstance(key, str)})
        vars(item).clear()
        vars(item).update({key[1]: value for key, value in values.items() if isinstance(key, tuple)})
    elif isinstance(item, type):
        for key, value in values.items():
            setattr(item, key, value)
    elif isinstance(item, dict | list | deque | set):
        _refill(item, values)
    else:
        own: dict[str, Any] = instance_attributes(item)
        of_torch: list[dict[str, Any]] = [item._buffers, item._parameters] if isinstance(item, nn.Module) else []
        for key in [key for key in attributes(item) if key not in values]:
            # What stands in a slot stays.
            own.pop(key, None)
        for key, value in values.items():
            next((held for held in of_torch if key in held), own)[key] = value


def _refill(item: Any, values: dict[Any, Any]) -> None:
    values = {key: value for key, value in values.items() if key is not _NOTHING}
    item.clear()
    if isinstance(item, dict):
        item.update(values)
    elif isinstance(item, set):
        item.update(values[""])
    else:
        item.extend(values.values())


def _same(old: Any, new: Any, depth: int) -> bool:
    if old is new or depth == 0:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, _PLAIN):
        return bool(old == new or (old != old and new != new))
    if isinstance(old, Tensor | np.ndarray):
        return _same_numbers((old, None, None), (new, None, None))
    if isinstance(old, frozenset):
        return old == new
    if isinstance(old, list | tuple | deque):
        return len(old) == len(new) and all(_same(a, b, depth - 1) for a, b in zip(old, new, strict=True))
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key], depth - 1) for key in old)
    # Two objects of a kind, made anew at every call: they differ if what they hold does.
    return _same(attributes(old), attributes(new), depth - 1)


def _same_numbers(old: tuple[object, object, object], new: tuple[object, object, object]) -> bool:
    """Compare two tensors or arrays, each with its version and a copy where it is small enough."""
    is_one = old[0] is new[0]
    if is_one and old[2] is None:
        return bool(old[1] == new[1])
    if is_one and old[1] is not None and old[1] == new[1] and (old[2] is None or new[2] is None):
        return True
    # What is written through ``.data`` does not count as a change in place.
    return _equal(*(value if copied is None else copied for value, _, copied in (old, new)))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return _same_arrays(one, other)
    a, b = (torch.as_tensor(value).detach() for value in (one, other))
    return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def _same_arrays(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare two arrays of any kind: names, dates, records and Python's objects have no tensor."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind in "biufc":
        return np.array_equal(one, other, equal_nan=True)
    return one.tobytes() == other.tobytes()


def _version(value: Any) -> int | None:
    """The number of changes of a tensor in place; an array does not say."""
    return None if isinstance(value, np.ndarray) or value.is_inference() else value._version


def _copied(value: Any) -> Any:
    size = value.size if isinstance(value, np.ndarray) else value.numel()
    if size > COPIED or (isinstance(value, Tensor) and value.layout != torch.strided):
        return None
    return value.copy() if isinstance(value, np.ndarray) else value.detach().clone()


@torch.no_grad()
def _copy_into(value: Any, copied: Any) -> None:
    if isinstance(value, np.ndarray):
        value[...] = copied
    elif value.shape == copied.shape:
        value.copy_(copied)
    else:
        value.data = copied.clone()


def _is_code(value: object) -> bool:
    kinds = types.FunctionType | types.BuiltinFunctionType | types.ModuleType | type
    return isinstance(value, kinds | property | staticmethod | classmethod)
