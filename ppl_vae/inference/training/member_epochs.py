"""The epochs of members whose steps are taken as one, each with a history and a choice of weights of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ppl_vae.errors import ConvergenceError
from ppl_vae.inference.compilation import inductor
from ppl_vae.inference.compilation.agreement import what_moves
from ppl_vae.inference.compilation.member_graphs import MemberGraphs
from ppl_vae.inference.compilation.members import ApartError, Member, require_alike, stack, unstack
from ppl_vae.inference.compilation.steppers import undone
from ppl_vae.inference.compilation.together import Together
from ppl_vae.inference.training import compute
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.block_threads import BlockThreads
from ppl_vae.inference.training.interruption import Interruptions
from ppl_vae.inference.training.loop import evaluations, rest
from ppl_vae.inference.training.preparation import Run
from ppl_vae.inference.training.progress import Progress
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper, run_epoch

# Of a step with as many floating-point operations the calls are a small part. Measured with digits' MLP, processor
# time of a member's step: with 400 units (5e7 operations) alone 0.93 of what it takes with 15 others, with 64 units
# (7e6) 1.29 of what it takes with 3 others.
LARGE_STEP = 40_000_000


@dataclass
class MemberEpochs:
    """The epochs of all members.

    Attributes:
        runs: of each.
        states: of each.
        members: of each.
        compiles: whether steps are taken in machine code.
        one_rate: whether one optimiser may take the steps of several.
        block: how many members take their steps as one.
        workers: threads that take the steps of blocks; with one, torch's own threads work inside of a step.
    """

    runs: Sequence[Run]
    states: Sequence[TrainingState]
    members: Sequence[Member]
    compiles: bool
    one_rate: bool
    block: int
    workers: int

    def train(self, bar: Progress) -> None:
        """Train until the last epoch, or until no member gets better."""
        require_alike(self.members)
        numbers = range(len(self.members))
        parts = [numbers[first : first + self.block] for first in range(0, len(numbers), self.block)]
        stacked = [stack([self.members[k] for k in part]) for part in parts]
        try:
            with Interruptions(terminate=False) as interruptions, BlockThreads(self.workers) as threads:
                with self._one_thread_a_step():
                    blocks = self._blocks(parts, stacked)
                for epoch in range(1, self.runs[0].settings.epochs + 1):
                    before = [state.weights.state() for state in self.states]
                    try:
                        self._epoch(blocks, epoch, bar, interruptions, threads)
                    except BaseException:
                        for state, kept in zip(self.states, before, strict=True):
                            state.weights.restore(kept)
                        raise
                    if all(state.selection.exhausted(epoch) for state in self.states):
                        break
        finally:
            for run, state in zip(self.runs, self.states, strict=True):
                rest(run, state)
            unstack(self.members)

    def _one_thread_a_step(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.workers == 1 else compute.threads(1)

    def _blocks(self, parts: Sequence[Sequence[int]], stacked: Sequence[list[Tensor]]) -> list[Together]:
        for state in self.states:
            state.weights.train()
        self._require_still()
        graphs = MemberGraphs(self.members[0])
        made = [self._made(graphs, *given) for given in zip(parts, stacked, strict=True)]
        try:
            self._prepare(made, parts)
        except (ApartError, RuntimeError):
            # Where machine code from the cache is another step's, it is dropped and made anew.
            if not inductor.forget_loaded():
                raise
            graphs.forget_code()
            self._prepare(made, parts)
        inductor.trust_loaded()
        return made

    def _require_still(self) -> None:
        """Refuse programs whose state moves from call to call, which steps taken as one would leave where it is.

        It moves by their code, so that one member stands for all that have the same.
        """
        seen = set()
        for member, batches in zip(self.members, self._batches(1), strict=True):
            code = tuple(map(_code_of, (member.eager.model, member.eager.guide, member.eager.objective)))
            if code in seen:
                continue
            seen.add(code)
            with undone([]), member.home():
                moving = what_moves(member.eager, member.held, batches)
            if moving is not None:
                words = "which steps taken as one would not update; fit it alone"
                raise ApartError(f"member {member.number}: {moving}, {words}")

    def _prepare(self, blocks: Sequence[Together], parts: Sequence[Sequence[int]]) -> None:
        batches = self._batches(1)
        for block, part in zip(blocks, parts, strict=True):
            block.prepare([batches[k] for k in part])

    def _made(self, graphs: MemberGraphs, part: Sequence[int], stacked: list[Tensor]) -> Together:
        members, run = [self.members[k] for k in part], self.runs[part[0]]
        first, descent = members[0].eager, None
        if len(members) == 1:
            descent = first
        # Groups of an optimiser, such as those of an objective that learns, know their leaves, not stacked ones.
        elif self.one_rate and all(len(member.eager.optimizer.param_groups) == 1 for member in members):
            leaves = [tensor.requires_grad_() for tensor in stacked[: len(first.parameters)]]
            optimizer = run.settings.make_optimizer(leaves)
            rates = [group.get("lr", 0.0) for group in optimizer.param_groups]
            descent = Stepper(first.model, first.guide, first.objective, leaves, optimizer, rates, first.schedule)
        return Together(members, stacked, descent, graphs, self.compiles)

    def _batches(self, epoch: int) -> list[IndexedBatches]:
        batches = [run.data.epoch(epoch, run.batch_size, run.seed) for run in self.runs]
        return [each for each in batches if isinstance(each, IndexedBatches)]

    def _epoch(
        self,
        blocks: Sequence[Together],
        epoch: int,
        bar: Progress,
        interruptions: Interruptions,
        threads: BlockThreads,
    ) -> None:
        began, first_step = time.perf_counter(), self.states[0].step
        for state in self.states:
            state.weights.train()

        def taken(data: int, loss: Tensor) -> None:
            bar.advance(data, loss)
            interruptions.deliver()

        with self._one_thread_a_step():
            sizes, table = threads.take(blocks, self._batches(epoch), first_step, taken)
        trained = time.perf_counter()
        for k, (run, state) in enumerate(zip(self.runs, self.states, strict=True)):
            if state.selection.exhausted(state.epoch):
                continue
            try:
                with self.members[k].home():
                    row = self._row(run, state, self.members[k], sizes, table[:, k], epoch)
            except ConvergenceError as error:
                raise ConvergenceError(f"member {k}: {error}{run.objective.undefined}") from None
            state.rows.append(row | {"seconds": (trained - began) / len(self.runs)})
            if run.data.validation is not None and state.step >= state.selection.since:
                state.selection.offer(row["validation_elbo"], epoch, state.weights.state)
        bar.summarise(self.states[0].rows[-1])

    def _row(
        self, run: Run, state: TrainingState, member: Member, sizes: list[int], table: Tensor, epoch: int
    ) -> dict[str, float]:
        taken = Taken(member.eager.parameters, sizes, table)
        next_step, means = run_epoch(taken, (), epoch, state.step, lambda size, loss: None)
        state.epoch, state.step = epoch, next_step
        return {"epoch": epoch, "step": next_step, **means, **evaluations(run, epoch)}


def blocks(members: int, flops: int, threads: int) -> int:
    """How many members take their steps as one, in machine code.

    A step that is small costs more in calls than in products: it is shared. Of a large one all is in the cache of a
    core, where that of several is not.

    Args:
        members: in all.
        flops: of a step of one.
        threads: that have blocks to take.
    """
    most = min(max(1, LARGE_STEP // max(1, flops)), max(1, members // threads))
    return max(size for size in range(1, most + 1) if members % size == 0)


@dataclass(frozen=True)
class Taken:
    """Steps that were taken with those of others, as ``run_epoch`` reads them.

    Attributes:
        parameters: the trainable leaves.
        sizes: of the batches.
        table: what each step left behind [S, 3].
    """

    parameters: Sequence[Tensor]
    sizes: list[int]
    table: Tensor

    def epoch(self, batches: object, first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """All steps at once."""
        yield self.sizes, self.table


def _code_of(program: object) -> object:
    """The mark by which two programs do the same: the code of a method or closure, or the class."""
    return getattr(program, "__code__", type(program))
