"""The graph of the step of one member, by which all members of its architecture take their steps.

It is written down once, from the first member. Its draws are inputs, so that each member draws from a generator of
its own, in the order in which its single fit draws.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from ppl_vae.errors import first_line
from ppl_vae.inference.compilation.batched_graph import Draw, batched, lift_draws, present_outputs
from ppl_vae.inference.compilation.inductor import Compiled, compiled
from ppl_vae.inference.compilation.members import ApartError, Member
from ppl_vae.inference.compilation.step_graph import StepGraph
from ppl_vae.inference.compilation.steppers import TracedStepper
from ppl_vae.inference.pair.labels import Batch

Shapes = tuple[torch.Size, ...]


@dataclass(frozen=True)
class Written:
    """The loss and the gradient of one member as a graph of (batch, step, its tensors, constants, draws).

    Attributes:
        program: the graph.
        draws: its last inputs.
        constants: of the programs, those of the first member.
        present: which of its outputs, the row and a gradient for each parameter, are tensors, and not None.
    """

    program: fx.GraphModule
    draws: list[Draw]
    constants: list[Tensor]
    present: list[bool]

    def whole(self, outputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The outputs with a None where there is no gradient."""
        values = (value for value in outputs if value is not None)
        return [next(values) if there else None for there in self.present]


@dataclass
class MemberGraphs:
    """The graphs of one architecture, each made when it is first needed.

    Attributes:
        first: the member whose programs are written down.
    """

    first: Member
    _written: dict[Shapes, Written] = field(default_factory=dict)
    _mapped: dict[tuple[int, Shapes], StepGraph] = field(default_factory=dict)
    _code: dict[tuple[int, Shapes], tuple[Compiled, list[Tensor]]] = field(default_factory=dict)

    def written(self, batch: Batch) -> Written:
        """The graph for batches like this one.

        Raises:
            ApartError: torch cannot write it down.
            ModelError: a draw depends on what is computed.
        """
        shapes = tuple(part.shape for part in batch)
        if shapes not in self._written:
            with refused_in_words(), self.first.home():
                graph = TracedStepper(self.first.eager, self.first.held).traced(batch)
            program, draws = lift_draws(graph)
            constants = graph.inputs[graph.num_given + len(self.first.tensors) :]
            self._written[shapes] = Written(program, draws, constants, present_outputs(program))
        return self._written[shapes]

    def mapped(self, written: Written, parts: Batch, inputs: Sequence[Tensor]) -> StepGraph:
        """The graph for several members: (batches, step, stacked tensors, constants, draws), stacked but for two.

        Args:
            written: of one.
            parts: the batches [M, B, ...], the first of the inputs.
            inputs: all that it is called with.

        Raises:
            ApartError: torch cannot map an operation.
        """
        key = len(parts[0]), tuple(part.shape for part in parts)
        if key not in self._mapped:
            tensors = len(self.first.tensors)
            differs = [True] * len(parts) + [False] + [True] * tensors
            differs += [False] * len(written.constants) + [True] * len(written.draws)
            with refused_in_words():
                self._mapped[key] = batched(written.program, inputs, differs, len(parts) + 1)
        return self._mapped[key]

    def code(
        self, count: int, shapes: Shapes, traced: Callable[[], StepGraph], num_own: int
    ) -> tuple[Compiled, list[Tensor]]:
        """Machine code of whole steps of so many members, and the constants that follow what is their own.

        Args:
            count: of members.
            shapes: of their batches.
            traced: gives the graph, where no other members had it yet.
            num_own: how many of the graph's kept inputs are weights, buffers and the state of an optimiser.
        """
        if (count, shapes) not in self._code:
            graph = traced()
            self._code[count, shapes] = compiled(graph), graph.kept[num_own:]
        return self._code[count, shapes]

    def forget_code(self) -> None:
        """Have it made anew."""
        self._code.clear()


@contextlib.contextmanager
def refused_in_words() -> Iterator[None]:
    """Say of what torch cannot trace or map that the members are to be fitted alone."""
    try:
        yield
    except RuntimeError as error:
        raise ApartError(
            "several members cannot be trained together: torch cannot take their steps as one "
            f"({first_line(error)}); fit them one by one"
        ) from error
