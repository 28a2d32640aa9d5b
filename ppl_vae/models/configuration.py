"""The configuration of a model or of a part: the arguments of its constructor, as JSON holds them.

    class MixturePrior(Configured):
        name = "mixture"

        @remembers
        def __init__(self, num_components: int = 10) -> None: ...

    prior.config        {"name": "mixture", "num_components": 10}
    from_spec(...)      the prior again

``config`` and the repr follow from the constructor; no class writes them down.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Concatenate, ParamSpec, TypeVar

from torch import nn

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.renamed import by_keyword

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Config = dict[str, Plain]
# What names a part: a name, a configuration, or the part itself.
Spec = str | Mapping[str, object] | nn.Module
Constructors = Mapping[str, Callable[..., nn.Module]]

Self = TypeVar("Self", bound="Configured")
Arguments = ParamSpec("Arguments")


class Configured(nn.Module):
    """A module that knows the arguments of its constructor, if ``remembers`` stands on that.

    What the instance keeps under an argument's own name is the argument's value, as in scikit-learn; another
    argument has the value that it was given, or that ``remember`` puts in its place. The seed is none of them.

    Attributes:
        name: its name in configurations and messages.
    """

    name: str

    def remember(self, **resolved: Plain) -> None:
        """Put in the place of arguments what they stand for, such as the configuration of a part given by name."""
        self._arguments.update(resolved)

    @property
    def _arguments(self) -> Config:
        arguments: Config = self.__dict__.setdefault("_remembered", {})
        return arguments

    @property
    def arguments(self) -> Config:
        """The arguments of the constructor by name; None for a module of the user's own."""
        kept = vars(self)
        return {name: plain(kept[name]) if name in kept else value for name, value in self._arguments.items()}

    @property
    def config(self) -> Config:
        """The name and options that make this part again."""
        return {"name": self.name, **self.arguments}

    def extra_repr(self) -> str:
        """The arguments that are numbers or words; parts tell their own."""
        told = {name: value for name, value in self.arguments.items() if not isinstance(value, dict | None)}
        return ", ".join(f"{name}={value!r}" for name, value in told.items())


def remembers(
    constructor: Callable[Concatenate[Self, Arguments], None],
) -> Callable[Concatenate[Self, Arguments], None]:
    """Let a constructor of a ``Configured`` remember its arguments, those with their defaults among them.

    Where it takes a seed, this is taken by its old place too, with a warning.
    """
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def remembering(self: Self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        constructor(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        _, *names = (name for name in signature.parameters if name != "seed")
        resolved = self._arguments
        self.__dict__["_remembered"] = {
            name: resolved[name] if name in resolved else plain(given.arguments[name]) for name in names
        }

    return by_keyword("seed")(remembering) if "seed" in signature.parameters else remembering


def plain(value: object) -> Plain:
    """A value as JSON holds it; None for what JSON cannot, such as a module of the user's own.

    >>> plain((1, 2.5, "mlp"))
    [1, 2.5, 'mlp']
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return None


def from_spec(kind: str, spec: object, table: Constructors) -> nn.Module:
    """Turn what the user gave into a module, once, at the door.

    Args:
        kind: what the part is called in an error.
        spec: a name in ``table``, a mapping with a "name" and the constructor's options, or a module.
        table: constructors by name.

    Raises:
        ModelError: the name is unknown, an option is, or ``spec`` is none of the three.
    """
    if isinstance(spec, nn.Module):
        return spec
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or "name" not in spec:
        raise ModelError(f"{kind} must be a name or an nn.Module, got {spec!r}")
    options = {key: value for key, value in spec.items() if key != "name"}
    if not isinstance(spec["name"], str) or spec["name"] not in table:
        raise ModelError(unknown_name(kind, spec["name"], table))
    try:
        return table[spec["name"]](**options)
    except TypeError as error:
        raise ModelError(f"{kind} {spec['name']!r}: {error}") from error


def own_config(part: nn.Module, table: Constructors) -> Config | None:
    """The configuration that makes a part of ours again; None for a user's own, or where one is inside it."""
    if not isinstance(part, Configured) or type(part) not in table.values():
        return None
    config = part.config
    return None if None in config.values() else config
