"""Arguments with another name or place: the old one is taken for one release, with a DeprecationWarning.

A short name that the first plan of the public surface promised, such as ``repeats``, stays, and gives none.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar, cast

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
        taken = _with_other_names(function, names, warn=True)
        _OLD_NAMES[taken] = names
        return taken

    return decorate


def also_called(**names: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Let a function take arguments by a second name that stays, without a warning.

    Args:
        **names: the name of an argument in the signature by its second one.

    >>> @also_called(steps="num_steps")
    ... def walk(num_steps: int) -> int:
    ...     return num_steps
    >>> walk(steps=3)
    3
    """
    return functools.partial(_with_other_names, names=names, warn=False)


def _with_other_names(
    function: Callable[Arguments, Result], names: Mapping[str, str], warn: bool
) -> Callable[Arguments, Result]:
    @functools.wraps(function)
    def with_other_names(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for old, new in names.items():
            if old in kwargs:
                if warn:
                    _warn(function.__name__, old, new)
                if new in kwargs:
                    kind = "old" if warn else "other"
                    raise TypeError(f"{function.__name__}() got {new!r} and its {kind} name {old!r}")
                kwargs[new] = kwargs.pop(old)
        return function(*args, **kwargs)

    return with_other_names


def by_keyword(*names: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Let a function take arguments by position that are given by keyword now.

    Args:
        *names: the parameters that stood behind those that are still taken by position, in their old order.

    >>> @by_keyword("seed", "memory")
    ... def draw(num_samples: int, *, memory: int = 1, seed: int = 0) -> tuple[int, int, int]:
    ...     return num_samples, memory, seed
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     draw(3, 7)
    (3, 1, 7)
    >>> str(told[0].message)
    "draw: the argument 'seed' is given by keyword now; by position it goes with the next release"
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
        number = sum(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)

        @functools.wraps(function)
        def with_old_places(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            surplus = dict(zip(names, args[number:], strict=False))
            if not surplus or len(args) > number + len(names):
                return function(*args, **kwargs)
            for name in surplus:
                warnings.warn(
                    f"{_name(function)}: the argument {name!r} is given by keyword now; by position it goes with "
                    "the next release",
                    DeprecationWarning,
                    stacklevel=_level_of_caller(),
                )
            if twice := [name for name in surplus if name in kwargs]:
                raise TypeError(f"{_name(function)}() got multiple values for argument {twice[0]!r}")
            kwargs.update(surplus)
            return cast(Callable[..., Result], function)(*args[:number], **kwargs)

        if function in _OLD_NAMES:
            _OLD_NAMES[with_old_places] = _OLD_NAMES[function]
        return with_old_places

    return decorate


def _name(function: Callable[..., object]) -> str:
    """The name of a function, and of a constructor that of its class."""
    owner, _, name = function.__qualname__.rpartition(".")
    return owner.rpartition(".")[2] if name == "__init__" else name


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
        stacklevel=_level_of_caller(),
    )


def _level_of_caller() -> int:
    """How far above its caller the first line stands that is no wrapper of this file: warnings name that line."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_code.co_filename == __file__:
        frame, level = frame.f_back, level + 1
    return level
