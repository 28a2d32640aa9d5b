"""Programs around another program: they change how it is called, and have its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ppl_vae.inference.pair.protocols import Program


class Wrapping:
    """A program around another one; what it does not say itself the inner one says.

    Attributes:
        program: the inner one.
        given: the arguments that it adds to those of a call.
    """

    given: tuple[Tensor, ...] = ()

    def __init__(self, program: Program) -> None:
        self.program = program

    def __getattr__(self, name: str) -> Any:
        if "program" not in self.__dict__:
            raise AttributeError(name)
        # A wrapper passes on whatever attribute it is asked for.
        return getattr(self.__dict__["program"], name)


def innermost(program: Program) -> Program:
    """The user's own program inside all wrappings."""
    while isinstance(program, Wrapping):
        program = program.program
    return program


def bound_to(program: Program) -> Iterator[Tensor]:
    """The arguments that wrappings add to those of a call."""
    while isinstance(program, Wrapping):
        yield from program.given
        program = program.program
