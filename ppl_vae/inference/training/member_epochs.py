"""The epochs of members whose steps are taken as one, each with a history and a choice of weights of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.errors import ConvergenceError
from ppl_vae.inference.compilation.members import Member, Together, stack, unstack
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.interruption import Interruptions
from ppl_vae.inference.training.loop import evaluations, rest
from ppl_vae.inference.training.preparation import Run
from ppl_vae.inference.training.progress import Progress
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper, run_epoch


@dataclass
class MemberEpochs:
    """The epochs of all members.

    Attributes:
        runs: of each.
        states: of each.
        members: of each.
        compiles: whether steps are taken in machine code.
        one_rate: whether one optimiser takes the steps of all.
    """

    runs: Sequence[Run]
    states: Sequence[TrainingState]
    members: Sequence[Member]
    compiles: bool
    one_rate: bool

    def train(self, bar: Progress) -> None:
        """Train until the last epoch, or until no member gets better."""
        stacked = stack(self.members)
        try:
            with Interruptions(terminate=False) as interruptions:
                together = self._together(stacked)
                for epoch in range(1, self.runs[0].settings.epochs + 1):
                    before = [state.weights.state() for state in self.states]
                    try:
                        self._epoch(together, epoch, bar, interruptions)
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

    def _together(self, stacked: list[Tensor]) -> Together:
        first, run = self.members[0].eager, self.runs[0]
        descent = None
        # Groups of an optimiser, such as those of an objective that learns, know their leaves, not stacked ones.
        if self.one_rate and all(len(member.eager.optimizer.param_groups) == 1 for member in self.members):
            leaves = [tensor.requires_grad_() for tensor in stacked[: len(first.parameters)]]
            optimizer = run.settings.make_optimizer(leaves)
            rates = [group.get("lr", 0.0) for group in optimizer.param_groups]
            descent = Stepper(first.model, first.guide, first.objective, leaves, optimizer, rates, first.schedule)
        for state in self.states:
            state.weights.train()
        together = Together(self.members, stacked, descent, self.compiles)
        generators = [member.generator.get_state() for member in self.members]
        together.require_agreement(self._first_batches())
        for member, generator in zip(self.members, generators, strict=True):
            member.generator.set_state(generator)
        return together

    def _batches(self, epoch: int) -> list[IndexedBatches]:
        batches = [run.data.epoch(epoch, run.batch_size, run.seed) for run in self.runs]
        return [each for each in batches if isinstance(each, IndexedBatches)]

    def _first_batches(self) -> list[Batch]:
        return [m.batch(b, 0) for m, b in zip(self.members, self._batches(1), strict=True)]

    def _epoch(self, together: Together, epoch: int, bar: Progress, interruptions: Interruptions) -> None:
        began, first_step = time.perf_counter(), self.states[0].step
        for state in self.states:
            state.weights.train()
        sizes, rows = [], []
        for size, terms in together.epoch(self._batches(epoch), first_step):
            sizes.append(size)
            rows.append(terms)
            bar.advance(size * len(self.members), terms[0, 0])
            interruptions.deliver()
        table = torch.stack(rows)
        trained = time.perf_counter()
        for k, (run, state) in enumerate(zip(self.runs, self.states, strict=True)):
            if state.selection.exhausted(state.epoch):
                continue
            try:
                with self.members[k].home():
                    row = self._row(run, state, self.members[k], sizes, table[:, k], epoch)
            except ConvergenceError as error:
                raise ConvergenceError(f"member {k}: {error}") from None
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
