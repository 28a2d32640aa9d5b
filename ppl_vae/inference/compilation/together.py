"""Members whose steps are taken as one: stacked weights, one graph, a generator for each.

Machine code of a step takes Adam's part too, as that of a single fit does. One member alone takes its steps by the
same graph on its own tensors, unstacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppl_vae.inference.compilation.adam import CapturedAdam, captured_adam
from ppl_vae.inference.compilation.agreement import require_close
from ppl_vae.inference.compilation.inductor import compiled
from ppl_vae.inference.compilation.member_graphs import MemberGraphs, Shapes, Written
from ppl_vae.inference.compilation.members import ApartError, Member
from ppl_vae.inference.compilation.step_graph import StepGraph, trace
from ppl_vae.inference.compilation.steppers import clipped, undone
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.steps import Stepper

# By how much the first loss and gradient of a member may differ from those of its own programs, relatively.
TOLERANCE = 1e-3
# From (batches, step, draws): the row [M, 3] and the stacked gradients.
Gradients = Callable[[Sequence[Tensor], Tensor, Sequence[Tensor]], list[Tensor | None]]


@dataclass
class Together:
    """The steps of several members as one.

    Attributes:
        members: of one architecture, with one objective.
        stacked: their parameters and buffers, [M, ...] each; of one member its own.
        descent: takes the optimiser's steps over the stacked parameters; None where each member takes its own.
        graphs: of their architecture.
        compiles: whether whole batches are taken in machine code.
    """

    members: Sequence[Member]
    stacked: list[Tensor]
    descent: Stepper | None
    graphs: MemberGraphs
    compiles: bool
    _noise: dict[Shapes, list[Tensor]] = field(default_factory=dict)
    _gradients: dict[Shapes, Gradients] = field(default_factory=dict)
    _adam: CapturedAdam | None = None
    _code: Callable[[list[Tensor]], Sequence[Tensor]] | None = None
    _kept: list[Tensor] = field(default_factory=list)

    @property
    def count(self) -> int:
        """M, the number of members."""
        return len(self.members)

    def epoch(self, batches: Sequence[IndexedBatches], first_step: int) -> Iterator[tuple[int, Tensor]]:
        """Take a step on every batch of each member: the size of a batch, and STEP_TERMS [M, 3]."""
        sizes = [len(indices) for indices in batches[0].indices]
        rates = self._rates(sum(size == sizes[0] for size in sizes) if self._code else 0, first_step)
        for number, size in enumerate(sizes):
            parts, step = self._parts(batches, number), first_step + number
            row = self._whole(parts, step, rates[number]) if number < len(rates) else self._step(parts, step)
            yield size, row
        if self._code is not None and self._adam is not None:
            self._adam.drop_subnormal()

    def prepare(self, batches: Sequence[IndexedBatches]) -> None:
        """Compare the members with their programs, and make the machine code.

        Raises:
            ApartError: the loss or gradient of a member is not that of its own programs; it is numbered.
            RuntimeError: machine code was asked for, and does something else.
        """
        states = [member.generator.get_state() for member in self.members]
        self._require_agreement(batches, states)
        # Here and now: a program can be written down in the thread alone that holds the process.
        sizes = [len(indices) for indices in batches[0].indices]
        for number in {sizes.index(size) for size in sizes}:
            self._gradients_for(self._parts(batches, number))
        self._rewind(states)
        if self.compiles:
            parts = self._parts(batches, 0)
            self._compile(parts)
            if self._code is not None:
                self._require_same_code(parts)
        self._rewind(states)

    def _parts(self, batches: Sequence[IndexedBatches], number: int) -> list[Tensor]:
        """The batches of a number [M, B, ...]; of one member its own."""
        each = [member.batch(own, number) for member, own in zip(self.members, batches, strict=True)]
        return list(each[0]) if self.count == 1 else [torch.stack(part) for part in zip(*each, strict=True)]

    def _step(self, parts: Sequence[Tensor], number: int) -> Tensor:
        """Take step ``number``: STEP_TERMS [M, 3]."""
        step = torch.full((), number, device=parts[0].device)
        row, *gradients = self._gradients_for(parts)(parts, step, self._drawn(parts))
        if self.descent is None:
            for k, member in enumerate(self.members):
                member.eager.descend([None if g is None else g[k] for g in gradients], number)
        elif self.count == 1:
            self.descent.descend(gradients, number)
        else:
            self.descent.descend(self._clipped(gradients), number)
        assert row is not None
        return row if self.count > 1 else row.unsqueeze(0)

    @torch.no_grad()
    def _whole(self, parts: list[Tensor], number: int, rates: Tensor) -> Tensor:
        """Take step ``number`` in machine code: STEP_TERMS [M, 3]."""
        assert self._code is not None
        step = torch.full((), number, device=parts[0].device)
        row = self._code([*parts, step, rates, *self._drawn(parts), *self._kept])[0]
        return row if self.count > 1 else row.unsqueeze(0)

    def _rates(self, steps: int, first_step: int) -> Tensor:
        """The numbers that Adam reads in these steps [S, numbers]; the optimiser counts them as taken."""
        if not steps:
            return torch.empty(0, 0)
        assert self._adam is not None
        assert self.descent is not None
        factors = [self.descent.rate_factor(step) for step in range(first_step, first_step + steps)]
        rates = self._adam.rates(factors, self.descent.lr).to(self.stacked[0].dtype)
        self._adam.advance(steps)
        return rates

    def _gradients_for(self, parts: Sequence[Tensor]) -> Gradients:
        shapes = _shapes(parts)
        if shapes not in self._gradients:
            # Batches of another size than the first take the operations one by one.
            in_code = self.compiles and not self._gradients and not self._whole_steps(parts)
            self._gradients[shapes] = self._gradients_of(parts, in_code)
        return self._gradients[shapes]

    def _gradients_of(self, parts: Sequence[Tensor], in_code: bool) -> Gradients:
        written = self._written(parts)
        graph = self._graph(written, parts)
        run = compiled(graph) if in_code else lambda inputs: graph.program(*inputs)

        @torch.no_grad()
        def gradients(parts: Sequence[Tensor], step: Tensor, noise: Sequence[Tensor]) -> list[Tensor | None]:
            return written.whole(run([*parts, step, *self.stacked, *written.constants, *noise]))

        return gradients

    def _graph(self, written: Written, parts: Sequence[Tensor]) -> StepGraph:
        step = torch.full((), 0, device=parts[0].device)
        inputs = [*parts, step, *self.stacked, *written.constants, *self._noise_for(parts)]
        if self.count == 1:
            return StepGraph(written.program, inputs, len(parts) + 1)
        with undone(self.stacked):
            return self.graphs.mapped(written, tuple(parts), inputs)

    def _written(self, parts: Sequence[Tensor]) -> Written:
        return self.graphs.written(tuple(parts if self.count == 1 else (part[0] for part in parts)))

    def _noise_for(self, parts: Sequence[Tensor]) -> list[Tensor]:
        shapes = _shapes(parts)
        if shapes not in self._noise:
            draws = self._written(parts).draws
            leading = () if self.count == 1 else (self.count,)
            self._noise[shapes] = [
                torch.ones(*leading, *draw.like.shape, dtype=draw.like.dtype, device=parts[0].device)
                for draw in draws
            ]
        return self._noise[shapes]

    def _drawn(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The draws of a step, those of each member from its generator."""
        noise, draws = self._noise_for(parts), self._written(parts).draws
        for k, member in enumerate(self.members):
            for tensor, draw in zip(noise, draws, strict=True):
                draw.into(tensor if self.count == 1 else tensor[k], member.generator)
        return noise

    def _whole_steps(self, parts: Sequence[Tensor]) -> CapturedAdam | None:
        """Adam, where machine code can take its part; on a GPU the fused kernel is as good."""
        if self.descent is None or parts[0].device.type != "cpu":
            return None
        present = self._written(parts).present[1:]
        trained = [leaf for leaf, there in zip(self.descent.parameters, present, strict=True) if there]
        return captured_adam(self.descent.optimizer, trained)

    def _compile(self, parts: Sequence[Tensor]) -> None:
        """Machine code of the whole step on batches like these, where there is an Adam."""
        self._adam = self._whole_steps(parts)
        if self._adam is None:
            return
        own = [*self.stacked, *self._adam.state()]
        given = [*parts, torch.full((), 0, device=parts[0].device), self._first_rates(), *self._noise_for(parts)]

        def traced() -> StepGraph:
            with undone(own):
                return trace(self._eager_whole(parts), given, own)

        self._code, constants = self.graphs.code(self.count, _shapes(parts), traced, len(own))
        self._kept = [*own, *constants]

    def _eager_whole(self, parts: Sequence[Tensor]) -> Callable[..., Tensor]:
        """The whole step as a function of (batches, step, rates, draws), operation by operation."""
        adam, descent = self._adam, self.descent
        assert adam is not None
        assert descent is not None
        gradients_of, state, count = self._gradients_of(parts, in_code=False), adam.state(), len(parts)

        def step(*given: Tensor) -> Tensor:
            noise = given[count + 2 : count + 2 + len(self._noise_for(parts))]
            row, *gradients = gradients_of(given[:count], given[count], noise)
            by_leaf = {id(leaf): g for leaf, g in zip(descent.parameters, self._clipped(gradients), strict=True)}
            found = [by_leaf[id(leaf)] for leaf in adam.leaves()]
            adam.update([g for g in found if g is not None], state, given[count + 1])
            assert row is not None
            return row

        return step

    def _first_rates(self) -> Tensor:
        assert self._adam is not None
        assert self.descent is not None
        return self._adam.rates([1.0], self.descent.lr).to(self.stacked[0].dtype)[0]

    def _require_same_code(self, parts: list[Tensor]) -> None:
        """Refuse machine code whose terms, before and after an update, are others than those of the operations."""
        noise, found = self._drawn(parts), []
        number, rates = torch.full((), 0, device=parts[0].device), self._first_rates()
        eager, code = self._eager_whole(parts), self._code
        assert code is not None
        kept = self._kept
        ways: list[Callable[[], Tensor]] = [
            lambda: code([*parts, number, rates, *noise, *kept])[0],
            lambda: eager(*parts, number, rates, *noise),
        ]
        for way in ways:
            with undone(kept), torch.no_grad():
                buffers = self.stacked[len(self.members[0].eager.parameters) :]
                found.append([way().clone(), way().clone(), *(buffer.clone() for buffer in buffers)])
        for ours, theirs in zip(*found, strict=True):
            require_close(ours, theirs)

    def _require_agreement(self, batches: Sequence[IndexedBatches], states: Sequence[Tensor]) -> None:
        """Compare the loss, gradient and buffers of each member with its own programs', on the same draws."""
        parts = self._parts(batches, 0)
        step = torch.full((), 0, device=parts[0].device)
        with undone(self.stacked):
            row, *gradients = self._gradients_for(parts)(parts, step, self._drawn(parts))
            left = [buffer.clone() for buffer in self.stacked[len(self.members[0].eager.parameters) :]]
        assert row is not None
        for k, (member, state) in enumerate(zip(self.members, states, strict=True)):
            member.generator.set_state(state)
            batch = member.batch(batches[k], 0)
            with undone(member.tensors), member.home():
                _draw_from(member.generator.get_state(), batch[0].device)
                own_row, *own = member.eager.gradients(batch, step)
                own_left = [tensor.clone() for tensor in member.held]
            values = [row, *(g for g in gradients if g is not None), *left]
            found = values if self.count == 1 else [value[k] for value in values]
            expected = [own_row, *(g for g in own if g is not None), *own_left]
            if len(found) != len(expected) or not all(map(_close, found, expected)):
                raise ApartError(
                    f"member {member.number}: its loss or gradient is another in the step of all than by its own "
                    "programs: it has another architecture, objective or constants than member 0; fit it alone"
                )

    def _rewind(self, states: Sequence[Tensor]) -> None:
        for member, state in zip(self.members, states, strict=True):
            member.generator.set_state(state)

    def _clipped(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients, of which each member's global norm is clipped."""
        most = self.members[0].eager.max_grad_norm
        if most is None:
            return list(gradients)
        there = [g for g in gradients if g is not None]
        if self.count == 1:
            whole = iter(clipped(there, most))
        else:
            each = [clipped([g[k] for g in there], most) for k in range(self.count)]
            whole = iter([torch.stack(parts) for parts in zip(*each, strict=True)])
        return [None if g is None else next(whole) for g in gradients]


def _shapes(parts: Sequence[Tensor]) -> Shapes:
    return tuple(part.shape for part in parts)


def _draw_from(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.default_generator.set_state(state)


def _close(found: Tensor, expected: Tensor) -> bool:
    found, expected = found.double(), expected.double()
    difference = torch.linalg.vector_norm(found - expected)
    return bool(difference <= TOLERANCE * torch.linalg.vector_norm(expected) + 1e-6)
