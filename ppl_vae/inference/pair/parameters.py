"""The parameters of a program that data may fill: its first one, and the covariates beside it.

A program is called as model(x, c1, ..., cm). A parameter without a default, or whose default is None, may be a
covariate; one with another default is a setting of the program, which data fill only by name. Two names are never
covariates: ``size``, how many data to draw, and ``indices``, the rows of a batch (``inference.pair.indices``).
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from inspect import Parameter

from torch import nn

from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.wrapping import Wrapping

RESERVED = ("indices", "size")
DATA = "x"
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Parameters:
    """The arguments that a program may be given.

    Attributes:
        data: the name of its first parameter.
        needed: the names beside it that have no default.
        by_position: those that the next arguments by position fill, in order.
        by_name: all that may be given by name, settings too.
        any_number: whether it takes any number of arguments by position.
        any_name: whether it takes arguments of any name.
        in_order: whether it says itself which covariates it takes, and in which order.
    """

    data: str = DATA
    needed: tuple[str, ...] = ()
    by_position: tuple[str, ...] = ()
    by_name: tuple[str, ...] = ()
    any_number: bool = False
    any_name: bool = False
    in_order: bool = False

    @property
    def takes_more(self) -> bool:
        """Tell whether there may be anything beside x by position."""
        return bool(self.needed or self.by_position) or self.any_number

    def names(self, name: str) -> bool:
        """Tell whether an argument of this name may be given."""
        return self.any_name or name in self.by_name


def parameters(program: Program) -> Parameters:
    """Read the parameters of a program, or what it declares as ``covariates`` or by ``takes_labels``."""
    declared = traits(program)
    own = declared.covariates or (("y",) if declared.takes_labels else ())
    if own:
        needed = () if not declared.covariates and declared.allows_missing_labels else own
        further = _signature(program) if not declared.covariates else Parameters()
        rest = tuple(name for name in further.by_position if name not in own)
        needed = (*needed, *(name for name in further.needed if name in rest))
        return Parameters(DATA, needed, (*own, *rest), (*own, *rest), in_order=True)
    return _signature(program)


def _signature(program: Program) -> Parameters:
    inner = program.program if isinstance(program, Wrapping) else program
    function = inner.forward if isinstance(inner, nn.Module) else inner
    try:
        given = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        # A callable written in C tells nothing.
        return Parameters(any_number=True, any_name=True)
    kinds = {parameter.kind for parameter in given}
    any_number, any_name = Parameter.VAR_POSITIONAL in kinds, Parameter.VAR_KEYWORD in kinds
    named = [p for p in given if p.kind in (*_BY_POSITION, *_BY_NAME) and p.name not in RESERVED]
    first = next((p for p in named if p.kind in _BY_POSITION), None)
    rest = [p for p in named if p is not first]
    return Parameters(
        DATA if first is None else first.name,
        tuple(p.name for p in rest if p.default is Parameter.empty),
        _fillable(rest),
        tuple(p.name for p in rest if p.kind in _BY_NAME),
        any_number,
        any_name,
    )


def _fillable(rest: list[Parameter]) -> tuple[str, ...]:
    """The parameters that arguments by position fill, up to the first setting."""
    names: list[str] = []
    for parameter in rest:
        if parameter.kind not in _BY_POSITION or parameter.default not in (Parameter.empty, None):
            break
        names.append(parameter.name)
    return tuple(names)
