"""Members of one architecture whose steps are taken together: stacked weights, one graph, a generator for each.

The parameters and buffers of each member become views of stacked tensors, so that whatever looks at a member while
it trains (an evaluation, a copy of its weights) sees what the steps did.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ppl_vae.errors import ModelError, first_line
from ppl_vae.inference.compilation.batched_graph import Draw, batched, lift_draws, present_outputs
from ppl_vae.inference.compilation.inductor import compiled
from ppl_vae.inference.compilation.steppers import TracedStepper, clipped, undone
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.steps import Stepper

# Puts what Pyro keeps of a member's own in the place of its store.
Home = Callable[[], contextlib.AbstractContextManager[object]]
# By how much the first loss and gradient of a member may differ from those of its own programs, relatively.
TOLERANCE = 1e-3


class ApartError(ModelError):
    """Members whose steps cannot be taken as one, though each can be trained alone."""


@dataclass(frozen=True)
class Member:
    """One of several that are trained together.

    Attributes:
        eager: its step.
        buffers: what a step may change besides its parameters.
        generator: of its draws in training.
        home: where its programs are run.
    """

    eager: Stepper
    buffers: list[Tensor]
    generator: torch.Generator
    home: Home = contextlib.nullcontext

    @property
    def tensors(self) -> list[Tensor]:
        """Its parameters and buffers."""
        return [*self.eager.parameters, *self.buffers]

    def batch(self, batches: IndexedBatches, number: int) -> Batch:
        """Its batch of a number, binarised by its own generator if that is to be."""
        data, indices = batches.data, batches.indices[number]
        x, *beside = replace(data, dynamic=False).batch(batches.x, indices)
        return x.bernoulli(generator=self.generator) if data.dynamic else x, *beside


@dataclass
class Together:
    """The steps of several members as one.

    Attributes:
        members: of one architecture, with one objective.
        stacked: their parameters and buffers, [M, ...] each.
        descent: takes the optimiser's steps over the stacked parameters; None where each member takes its own.
        compiles: whether whole batches are taken in machine code.
    """

    members: Sequence[Member]
    stacked: list[Tensor]
    descent: Stepper | None
    compiles: bool
    _graphs: dict[tuple[torch.Size, ...], Callable[[Sequence[Batch], Tensor], Sequence[Tensor | None]]] = field(
        default_factory=dict
    )

    def epoch(self, batches: Sequence[IndexedBatches], first_step: int) -> Iterator[tuple[int, Tensor]]:
        """Take a step on every batch of each member: the size of a batch, and STEP_TERMS [M, 3]."""
        for number, indices in enumerate(batches[0].indices):
            of_members = [m.batch(b, number) for m, b in zip(self.members, batches, strict=True)]
            yield len(indices), self.step(of_members, first_step + number)

    def step(self, of_members: Sequence[Batch], number: int) -> Tensor:
        """Take step ``number`` on a batch of each member: STEP_TERMS [M, 3]."""
        row, *gradients = self._gradients(of_members, number)
        if self.descent is None:
            for k, member in enumerate(self.members):
                member.eager.descend([None if g is None else g[k] for g in gradients], number)
        else:
            self.descent.descend(self._clipped(gradients), number)
        assert row is not None
        return row

    def require_agreement(self, of_members: Sequence[Batch]) -> None:
        """Compare the loss and gradient of each member with its own programs, on the same draws.

        Raises:
            ModelError: one differs; it is numbered.
        """
        states = [member.generator.get_state() for member in self.members]
        with undone(self.stacked):
            row, *gradients = self._gradients(of_members, 0)
        assert row is not None
        for k, (member, state) in enumerate(zip(self.members, states, strict=True)):
            member.generator.set_state(state)
            with undone(member.tensors), member.home():
                _draw_from(state, of_members[k][0].device)
                own_row, *own = member.eager.gradients(of_members[k], torch.full((), 0, device=row.device))
            found = [row[k], *(g[k] for g in gradients if g is not None)]
            expected = [own_row, *(g for g in own if g is not None)]
            if len(found) != len(expected) or not all(map(_close, found, expected)):
                raise ApartError(
                    f"member {k}: its loss or gradient is another in the step of all than by its own programs: it "
                    "has another architecture, objective or constants than member 0; fit it alone"
                )

    def _gradients(self, of_members: Sequence[Batch], number: int) -> Sequence[Tensor | None]:
        shapes = tuple(part.shape for part in of_members[0])
        if shapes not in self._graphs:
            self._graphs[shapes] = self._capture(of_members, self.compiles and not self._graphs)
        step = torch.full((), number, device=of_members[0][0].device)
        return self._graphs[shapes](of_members, step)

    def _capture(
        self, of_members: Sequence[Batch], compiles: bool
    ) -> Callable[[Sequence[Batch], Tensor], Sequence[Tensor | None]]:
        first, count = self.members[0], len(self.members)
        with _refused_in_words(), first.home():
            graph = TracedStepper(first.eager, first.buffers).traced(of_members[0])
        program, draws = lift_draws(graph)
        constants = graph.inputs[graph.num_given + len(first.tensors) :]
        noise = [draw.like.new_empty(count, *draw.like.shape) for draw in draws]
        self._fill(noise, draws, keep=True)
        parts = [torch.stack(part) for part in zip(*of_members, strict=True)]
        inputs = [*parts, torch.full((), 0, device=parts[0].device), *self.stacked, *constants, *noise]
        differs = [True] * len(parts) + [False] + [True] * len(self.stacked)
        differs += [False] * len(constants) + [True] * len(noise)
        present = present_outputs(program)
        with undone(self.stacked), _refused_in_words():
            many = batched(program, inputs, differs, len(parts) + 1)
        run = compiled(many) if compiles else lambda given: many.program(*given)

        @torch.no_grad()
        def gradients(of_members: Sequence[Batch], step: Tensor) -> Sequence[Tensor | None]:
            for place, part in enumerate(zip(*of_members, strict=True)):
                torch.stack(part, out=parts[place])
            self._fill(noise, draws)
            values = iter(run([*parts, step, *self.stacked, *constants, *noise]))
            return [next(values) if there else None for there in present]

        return gradients

    def _fill(self, noise: Sequence[Tensor], draws: Sequence[Draw], keep: bool = False) -> None:
        """Draw for each member from its generator, which ``keep`` leaves where it was."""
        for k, member in enumerate(self.members):
            generator = member.generator.clone_state() if keep else member.generator
            for tensor, draw in zip(noise, draws, strict=True):
                draw.into(tensor[k], generator)

    def _clipped(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The stacked gradients, of which each member's global norm is clipped."""
        most = self.members[0].eager.max_grad_norm
        if most is None:
            return list(gradients)
        there = [g for g in gradients if g is not None]
        each = [clipped([g[k] for g in there], most) for k in range(len(self.members))]
        whole = iter([torch.stack(parts) for parts in zip(*each, strict=True)])
        return [None if g is None else next(whole) for g in gradients]


def stack(members: Sequence[Member]) -> list[Tensor]:
    """Stack the tensors of all members, which become views of what is returned: [M, ...] each.

    Raises:
        ModelError: the shapes of a member differ from those of the first, or it shares a tensor with another; it is
            numbered.
    """
    shapes = [tensor.shape for tensor in members[0].tensors]
    holders: dict[int, int] = {}
    for k, member in enumerate(members):
        if [tensor.shape for tensor in member.tensors] != shapes:
            raise ApartError(f"member {k}: its parameters have other shapes than those of member 0; fit it alone")
        shared = next((holders[id(tensor)] for tensor in member.tensors if id(tensor) in holders), None)
        if shared is not None:
            raise ModelError(f"member {k}: it has parameters that are those of member {shared} too; copy them")
        holders |= {id(tensor): k for tensor in member.tensors}
    stacked = [torch.stack([t.detach() for t in each]) for each in zip(*(m.tensors for m in members), strict=True)]
    for k, member in enumerate(members):
        for tensor, whole in zip(member.tensors, stacked, strict=True):
            tensor.data = whole[k]
    return stacked


def unstack(members: Sequence[Member]) -> None:
    """Give each member memory of its own again."""
    for member in members:
        for tensor in member.tensors:
            tensor.data = tensor.data.clone()


@contextlib.contextmanager
def _refused_in_words() -> Iterator[None]:
    """Say of what torch cannot trace or map that the members are to be fitted alone."""
    try:
        yield
    except RuntimeError as error:
        raise ApartError(
            "several members cannot be trained together: torch cannot take their steps as one "
            f"({first_line(error)}); fit them one by one"
        ) from error


def _draw_from(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.default_generator.set_state(state)


def _close(found: Tensor, expected: Tensor) -> bool:
    difference = torch.linalg.vector_norm(found - expected)
    return bool(difference <= TOLERANCE * torch.linalg.vector_norm(expected) + 1e-6)
