"""Optional attributes of parts that users bring, declared in one dataclass a kind of part, with their defaults."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from types import CodeType
from typing import Any, Protocol, TypeVar, runtime_checkable

Kind = TypeVar("Kind")


def declared(kind: type[Kind], part: object) -> Kind:
    """Read the fields of a kind from a part, with the kind's defaults for those that it lacks.

    A part inherits nothing from the kind: its attributes are looked up by name, as those of wrapped programs and
    the parts of an nn.Module can be. An attribute that cannot be called is not taken for a method.

    Args:
        kind: a dataclass with a default for every field.
        part: any object.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Named:
    ...     name: str = "nobody"
    >>> declared(Named, 3).name
    'nobody'
    """
    own: dict[str, object] = {}
    known: object = kind
    for name, default in _defaults(known):
        # The one place where an attribute is looked for by name: all others are declared, here or in a Protocol.
        value = getattr(part, name, default)
        if value is not default and (callable(value) or not callable(default)):
            own[name] = value
    return kind(**own)


@functools.cache
def _defaults(kind: Any) -> tuple[tuple[str, object], ...]:
    return tuple((field.name, field.default) for field in fields(kind))


@runtime_checkable
class Qualified(Protocol):
    """A function or class, which has a name."""

    __name__: str
    __qualname__: str


@runtime_checkable
class Wrapped(Protocol):
    """A function around another one, as functools.wraps makes it."""

    __wrapped__: Callable[..., object]


@runtime_checkable
class Written(Protocol):
    """A function that was written in Python, whose code can be read."""

    __code__: CodeType


def instance_attributes(thing: object) -> dict[str, Any]:
    """The attributes that an object keeps in a dictionary of its own; none where it has no such dictionary.

    >>> instance_attributes(3)
    {}
    """
    try:
        return vars(thing)
    except TypeError:
        return {}
