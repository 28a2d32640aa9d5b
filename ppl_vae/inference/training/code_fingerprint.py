"""The fingerprint of a user's programs and functions, which can be compared between two processes.

Bytecode, constants, defaults, closure cells and the globals that a function reads, through partials, methods,
classes and modules; code of installed packages counts by its name. What the code itself assigns (a counter, a
curriculum) is no constant and is left out. Everything is bounded.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import re
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from pyro.nn import PyroModule, PyroSample
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ppl_vae.data import fingerprint
from ppl_vae.declared import declared, instance_attributes

# Bounds: entries, nesting, elements of a container, elements of a tensor, characters of a value.
ENTRIES, DEPTH, ELEMENTS, NUMBERS, CHARACTERS = 400, 12, 64, 1_000_000, 80
PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, torch.device, torch.Size)
# Instructions and methods by which code changes a container that it reads.
CHANGES = {"STORE_SUBSCR", "DELETE_SUBSCR"}, {"append", "extend", "update", "pop", "clear", "setdefault", "add"}
# Of a layer; a change of them is told by the shapes of the weights.
SIZES = re.compile(r"^\d+(, \d+)*|\w+_features=\d+")
OWN_PACKAGE = __name__.partition(".")[0]


def code_fingerprint(**roles: object) -> dict[str, str]:
    """Name -> value or checksum of everything that the given objects are made of.

    Args:
        **roles: by name, such as model and guide; None is left out.

    >>> import functools
    >>> code_fingerprint(model=functools.partial(pow, exp=2.0))
    {"model['exp']": '2.0'}
    """
    reader = _Reader()
    for role, thing in roles.items():
        if thing is not None:
            reader.read(thing, role)
    return reader.found


@dataclass
class _Reader:
    found: dict[str, str] = field(default_factory=dict)
    # Kept alive, so that no other object gets the number of one that was seen.
    seen: dict[int, object] = field(default_factory=dict)

    def read(self, thing: object, path: str, skip: frozenset[str] = frozenset(), changes: bool = False) -> None:
        """Add what ``thing`` is made of.

        Args:
            thing: anything.
            path: what it is called.
            skip: attributes that are assigned.
            changes: whether the code that reads it changes containers.
        """
        if len(self.found) >= ENTRIES or path.count(".") > DEPTH:
            return
        if isinstance(thing, (*PLAIN, np.generic)):
            self.found[path] = _short(repr(thing))
        elif id(thing) not in self.seen:
            self.seen[id(thing)] = thing
            self._take_apart(thing, path, skip, changes)

    def _take_apart(self, thing: object, path: str, skip: frozenset[str], changes: bool) -> None:
        if isinstance(thing, Tensor | np.ndarray):
            self.found[path] = _numbers(thing)
        elif isinstance(thing, tuple | frozenset) or (isinstance(thing, list | dict | set) and not changes):
            self._container(thing, path)
        elif isinstance(thing, functools.partial):
            self.read(thing.func, path)
            self._container(thing.args, path)
            self._container(thing.keywords, path)
        elif isinstance(thing, types.MethodType):
            self.read(thing.__func__, path)
            self.read(thing.__self__, f"{path}.self")
        elif isinstance(thing, types.FunctionType):
            self._function(thing, path)
        elif isinstance(thing, type):
            self._class(thing, path)
        elif isinstance(thing, nn.Module):
            self._module(thing, path)
        elif isinstance(thing, torch.distributions.Distribution | torch.distributions.Transform | Messenger):
            self.found[path] = type(thing).__name__
            self._attributes(thing, path, skip)
        elif not isinstance(thing, types.ModuleType | types.BuiltinFunctionType | list | dict | set):
            self._instance(thing, path)

    def _container(self, thing: Iterable[object], path: str) -> None:
        pairs: Iterable[tuple[object, object]]
        if isinstance(thing, dict):
            pairs = thing.items()
        elif isinstance(thing, set | frozenset):
            pairs = enumerate(sorted(thing, key=repr))
        else:
            pairs = enumerate(thing)
        for index, (key, value) in enumerate(pairs):
            if index < ELEMENTS:
                self.read(value, f"{path}[{_short(repr(key))}]")

    def _function(self, function: types.FunctionType, path: str) -> None:
        if is_library(function):
            self.found[path] = f"{function.__module__}.{function.__qualname__}"
            return
        codes = list(_nested(function.__code__))
        assigned, changes = _assigned(codes), _changes(codes)
        self.found[f"{path}()"] = _code_checksum(function.__code__, function.__doc__)
        self._container(function.__defaults__ or (), f"{path}.defaults")
        self._container(function.__kwdefaults__ or {}, f"{path}.defaults")
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        read = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
        for name in sorted({name for code in codes for name in code.co_names}):
            if name in function.__globals__:
                read.setdefault(name, function.__globals__[name])
        for name, value in read.items():
            if name not in assigned:
                self.read(value, f"{path}.{name}", changes=changes)

    def _class(self, cls: type, path: str) -> None:
        if is_library(cls):
            self.found[path] = f"{cls.__module__}.{cls.__qualname__}"
            return
        for name, value in sorted(vars(cls).items()):
            member = _underlying(value)
            # A flag of a class is a switch; what the code does by it is in the code.
            constant = isinstance(value, PLAIN) and not isinstance(value, bool) and not name.startswith("__")
            if isinstance(member, types.FunctionType) or constant:
                self.read(member, f"{path}.{name}")
        for base in cls.__bases__:
            self.read(base, f"{path}.{base.__name__}")

    def _module(self, module: nn.Module, path: str) -> None:
        layers = []
        for name, part in module.named_modules():
            where = f"{path}.{name}" if name else path
            if not type(part).__module__.startswith(OWN_PACKAGE + "."):
                # A part that inherits from one of ours tells its options as attributes, below.
                inherited = type(part).extra_repr.__module__.startswith(OWN_PACKAGE + ".models.")
                options = "" if inherited else SIZES.sub("", part.extra_repr())
                layers.append(f"{name}: {type(part).__name__}({options})")
            if is_library(type(part)):
                for key, value in vars(part).items():
                    weight = declared(_Weighting, value).weight
                    function = value if weight is None else weight
                    if isinstance(function, types.FunctionType | functools.partial) and not is_library(function):
                        self.read(function, f"{where}.{key}")
            else:
                self.read(type(part), f"{where}.{type(part).__name__}")
                # An objective tells its numbers itself, in its description.
                if not path.startswith("elbo"):
                    self._attributes(part, where, _assigned_by_methods(type(part)))
            for key, site in part._pyro_samples.items() if isinstance(part, PyroModule) else ():
                self.read(site.prior if isinstance(site, PyroSample) else site, f"{where}.{key}")
        # An objective's description has its layers; what is still to be made has none.
        if path != "elbo" and not any(is_lazy(leaf) for leaf in module.parameters()):
            self.found[f"{path} layers"] = hashlib.sha256("\n".join(layers).encode()).hexdigest()[:16]

    def _instance(self, thing: object, path: str) -> None:
        cls = type(thing)
        self.read(cls, f"{path}.{cls.__name__}")
        if not is_library(cls):
            self._attributes(thing, path, _assigned_by_methods(cls))

    def _attributes(self, thing: object, path: str, skip: frozenset[str]) -> None:
        for name, value in sorted(instance_attributes(thing).items()):
            if name not in skip and not name.startswith("_") and name != "training":
                self.read(value, f"{path}.{name}", changes=True)


@dataclass(frozen=True)
class _Weighting:
    """The optional attribute of an attribute of a layer: the function that weights a term."""

    weight: object = None


def _underlying(member: object) -> object:
    """The function behind a method or property of a class."""
    if isinstance(member, staticmethod | classmethod | types.MethodType):
        return member.__func__
    return member.fget if isinstance(member, property) else member


def is_library(thing: type | types.FunctionType | functools.partial[object]) -> bool:
    """Tell whether a class or function is Python's, of an installed package, or of this one."""
    name = thing.__module__ or ""
    top = name.partition(".")[0]
    if (top in sys.stdlib_module_names and top != "__main__") or top == OWN_PACKAGE:
        return True
    file = instance_attributes(sys.modules.get(name)).get("__file__") or ""
    return any(file.startswith(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _code_checksum(code: types.CodeType, doc: str | None = None) -> str:
    """Over instructions, names and constants; not over lines, file names and the docstring."""
    constants = [
        _code_checksum(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts if c != doc
    ]
    parts = (code.co_code.hex(), code.co_names, code.co_freevars, constants)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _constant(constant: object) -> str:
    # The order of a set differs from process to process.
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)


def _assigned(codes: Iterable[types.CodeType]) -> set[str]:
    """Outer names that code assigns itself."""
    stores = {"STORE_GLOBAL", "STORE_DEREF", "DELETE_GLOBAL"}
    return {i.argval for code in codes for i in dis.get_instructions(code) if i.opname in stores}


def _changes(codes: Iterable[types.CodeType]) -> bool:
    instructions, methods = CHANGES
    return any(
        i.opname in instructions or (i.opname.startswith("LOAD_") and i.argval in methods)
        for code in codes
        for i in dis.get_instructions(code)
        if isinstance(i.argval, str | type(None))
    )


def _assigned_by_methods(cls: type) -> frozenset[str]:
    """Attributes that methods other than __init__ assign."""
    functions = [
        f for base in cls.__mro__ if not is_library(base) for name, f in vars(base).items() if name != "__init__"
    ]
    codes = [code for f in functions if isinstance(f, types.FunctionType) for code in _nested(f.__code__)]
    return frozenset(i.argval for code in codes for i in dis.get_instructions(code) if i.opname == "STORE_ATTR")


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _numbers(values: Tensor | np.ndarray) -> str:
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "biufc":
            return f"array {values.dtype} {list(values.shape)}"
        values = torch.from_numpy(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("="), copy=True))
    shape = f"{values.dtype} {list(values.shape)}"
    if values.requires_grad or values.layout is not torch.strided or values.is_meta:
        # What is trained differs from run to run.
        return shape
    flat = values.detach().reshape(-1)
    return f"{shape} {fingerprint(flat[:: 1 + flat.numel() // NUMBERS])[:16]}"


def _short(text: str) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    if len(text) <= CHARACTERS:
        return text
    return f"{text[: CHARACTERS // 2]}... {hashlib.sha256(text.encode()).hexdigest()[:16]}"
