"""Arguments that have another name now: the old one is taken for one release, with a DeprecationWarning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Value = TypeVar("Value")

# Old names by function, where they are asked for before the function is called.
_OLD_NAMES: dict[Callable[..., object], Mapping[str, str]] = {}


def renamed(**names: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Let a function take arguments by their old names too.

    Args:
        **names: the new name of an argument by its old one.

    >>> @renamed(steps="num_steps")
    ... def walk(num_steps: int) -> int:
    ...     return num_steps
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     walk(steps=3)
    3
    >>> str(told[0].message)
    "walk: the argument 'steps' is called 'num_steps' now; the old name goes with the next release"
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.wraps(function)
        def with_old_names(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            for old, new in names.items():
                if old in kwargs:
                    _warn(function.__name__, old, new)
                    if new in kwargs:
                        raise TypeError(f"{function.__name__}() got {new!r} and its old name {old!r}")
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        _OLD_NAMES[with_old_names] = names
        return with_old_names

    return decorate


def current_names(function: Callable[..., object], options: Mapping[str, Value]) -> dict[str, Value]:
    """Options of a function, or of a partial of one, under their new names; an old one gives a warning."""
    while isinstance(function, functools.partial):
        function = function.func
    names = _OLD_NAMES.get(function, {})
    for old in options:
        if old in names:
            _warn(function.__name__, old, names[old])
    return {names.get(name, name): value for name, value in options.items()}


def _warn(function: str, old: str, new: str) -> None:
    warnings.warn(
        f"{function}: the argument {old!r} is called {new!r} now; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=3,
    )
