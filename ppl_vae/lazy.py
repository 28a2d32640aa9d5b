"""Packages whose public names are loaded when they are first asked for, so that an import costs what is used.

A package writes its imports as ever, below ``if TYPE_CHECKING:``, where type checkers and editors read them, and
calls ``load_names_lazily(__name__)``. That block is the one table: the names are read from it, and each is imported
by the first access (PEP 562, by a class of the module's own, so that checkers see no ``__getattr__`` that would
excuse any name).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HasSource(Protocol):
    """A loader that knows the source of a module; importlib.abc, which names it, costs more than all of this."""

    def get_source(self, fullname: str) -> str | None:
        """The source."""


class LazyPackage(ModuleType):
    """A package that imports its public names when they are asked for."""

    # Name -> the module that holds it, and its name there; None where it is a module itself.
    _lazy_names: Mapping[str, tuple[str, str | None]]

    def __getattr__(self, name: str) -> Any:
        origin = self.__dict__["_lazy_names"].get(name)
        if origin is None:
            # A room is reached by its name alone, as where a package imports all of its rooms at once.
            inner = f"{self.__name__}.{name}"
            if name.startswith("_") or importlib.util.find_spec(inner) is None:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
            return importlib.import_module(inner)
        module, attribute = origin
        value = importlib.import_module(module)
        if attribute is not None:
            # As an import statement does: the names are those of the package's own table.
            value = getattr(value, attribute)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a submodule on its package: data/fingerprint.py is not to hide its function.
        lazy = self.__dict__.get("_lazy_names", {}).get(name)
        own = isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}"
        if not (own and lazy is not None and lazy[1] is not None):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self._lazy_names})


def load_names_lazily(package: str) -> None:
    """Let a package import the names below its ``if TYPE_CHECKING:`` when they are first asked for.

    Raises:
        ImportError: the package was installed without its source.
    """
    module = sys.modules[package]
    loader = module.__loader__
    source = loader.get_source(package) if isinstance(loader, HasSource) else None
    if source is None:
        raise ImportError(f"{package}: there is no source to read the table of its names from", name=package)
    module.__dict__["_lazy_names"] = lazy_names(source, package)
    module.__class__ = LazyPackage


def lazy_names(source: str, package: str) -> dict[str, tuple[str, str | None]]:
    r"""Read from the source of a package which name comes from which module.

    >>> lazy_names("if TYPE_CHECKING:\n    from a.b import c as d\n    from a import e", "a")
    {'d': ('a.b', 'c'), 'e': ('a.e', None)}
    """
    names: dict[str, tuple[str, str | None]] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            for line in statement.body:
                assert isinstance(line, ast.ImportFrom)
                assert line.module is not None
                names |= {alias.asname or alias.name: _origin(line.module, alias, package) for alias in line.names}
    return names


def _origin(module: str, alias: ast.alias, package: str) -> tuple[str, str | None]:
    return (f"{package}.{alias.name}", None) if module == package else (module, alias.name)
