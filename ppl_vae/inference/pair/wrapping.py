"""Programs around another program: they change how it is called, and have its attributes."""

from __future__ import annotations

from typing import Any

from ppl_vae.inference.pair.protocols import Program


class Wrapping:
    """A program around another one; what it does not say itself the inner one says.

    Attributes:
        program: the inner one.
    """

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
