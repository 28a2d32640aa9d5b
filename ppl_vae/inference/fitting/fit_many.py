"""The function ``fit_many``: several pairs of one architecture trained together, each as if it were alone."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.checks import whole
from ppl_vae.containers import Data
from ppl_vae.data import Dataset, Split
from ppl_vae.errors import ConvergenceError, ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.compilation.members import Member, Together, stack, unstack
from ppl_vae.inference.compilation.step_choice import choose
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.fitting.fit import TRAINING_STREAM, FitResult, finish_run, start_run
from ppl_vae.inference.objectives.schedules import Schedule
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.training import compute
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.interruption import Interruptions
from ppl_vae.inference.training.loop import evaluations, rest
from ppl_vae.inference.training.neighbours import Neighbours
from ppl_vae.inference.training.preparation import Run, isolated, prepare, require_used
from ppl_vae.inference.training.progress import Progress
from ppl_vae.inference.training.run_folder import RunFolder
from ppl_vae.inference.training.settings import resolve
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper, run_epoch
from ppl_vae.randomness import derived_seed


@exclusive()
@torch.inference_mode(False)
def fit_many(
    vaes: Sequence[PairLike],
    data: Data | Dataset | Split,
    elbo: str | Objective | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | Sequence[float] | None = None,
    optimizer: str | None = None,
    schedule: Schedule | str | None = None,
    max_grad_norm: float | None = None,
    validation: float | Tensor | str | None = None,
    patience: int | None = None,
    device: str | torch.device = "auto",
    compile: bool | str = "auto",
    num_threads: compute.Threads = None,
    *,
    progress: bool | None = None,
    seeds: Sequence[int] | None = None,
) -> list[FitResult]:
    """Train several pairs of one architecture in place, their steps taken as one over stacked weights.

    Member k ends where ``fit(vaes[k], ..., seed=seeds[k])`` does, up to rounding: it has the same batches, draws
    and split. Before the first step its loss and gradient are compared with its own programs.

    Args:
        vaes: pairs that differ in their weights alone.
        data: in one piece, as ``fit`` takes them.
        elbo: an estimator's name or an objective, which is copied for each; recipes have their own.
        epochs: passes over the data.
        batch_size: data a step, of each member.
        lr: the learning rate, one for all or one for each.
        optimizer: the name of one.
        schedule: multiplies the learning rate.
        max_grad_norm: the norm of each member's gradient is clipped to it.
        validation: a fraction that each member splits off by its own seed, other data, or "test".
        patience: a member whose validation ELBO gets no better keeps its best weights; all stop when none does.
        device: "auto" takes CUDA where there is one.
        compile: True takes whole batches in machine code, False replays the operations one by one, "auto" does what
            pays.
        num_threads: of the CPU.
        progress: show a progress bar.
        seeds: of each member's batches, draws and split; by default 0, 1, 2, ...

    Returns:
        A result for each, as ``fit`` gives it; its seconds are its share.

    Raises:
        ModelError: members differ in more than weights, or draw in a way that depends on them; it is numbered.
        DataError: as of ``fit``.
        ConvergenceError: a number of a member stopped being finite; all go back to the last good epoch.

    >>> import ppl_vae as pv
    >>> vaes = [pv.VAE((4,), latent_dim=1, likelihood="gaussian", seed=seed) for seed in range(3)]
    >>> results = fit_many(vaes, torch.randn(64, 4), epochs=2, progress=False)
    >>> [result.epochs_run for result in results]
    [2, 2, 2]
    """
    if not vaes:
        raise ModelError("fit_many needs at least one pair")
    rates = _for_each("lr", lr, len(vaes))
    seeds = [whole("seed", seed, least=None) or 0 for seed in (range(len(vaes)) if seeds is None else seeds)]
    if len(seeds) != len(vaes) or len({id(as_pair(vae).source) for vae in vaes}) < len(vaes):
        raise ModelError(f"fit_many needs a seed for each of {len(vaes)} different pairs, got {len(seeds)}")
    common = {
        "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "schedule": schedule,
        "max_grad_norm": max_grad_norm, "validation": validation, "patience": patience,
    }  # fmt: skip
    on, runs = compute.resolve_device(device), []
    for vae, rate, seed in zip(vaes, rates, seeds, strict=True):
        given = {**common, "elbo": copy.deepcopy(elbo), "lr": rate}
        run = prepare(as_pair(vae), data, resolve(vae, given), on, seed)
        require_used(given, run)
        runs.append(run)
    _require_alike(runs)
    with contextlib.ExitStack() as stack_of_sets:
        for run in runs:
            stack_of_sets.enter_context(run.objective.of_a_set(run.data.num_total))
        return _fit_all(runs, compile, num_threads, progress, one_rate=len(set(rates)) == 1)


def _for_each(name: str, value: float | Sequence[float] | None, count: int) -> list[float | None]:
    several: list[float | None] = list(value) if isinstance(value, Sequence) else [value] * count
    if len(several) != count:
        raise ModelError(f"{name}: expected one for all or one for each of {count} pairs, got {len(several)}")
    return several


def _require_alike(runs: Sequence[Run]) -> None:
    """Refuse members whose settings differ, and data in batches of the user's own."""
    first = {name: value for name, value in runs[0].settings.describe().items() if name != "lr"}
    for k, run in enumerate(runs):
        if run.data.x is None:
            raise ModelError("fit_many needs data in one piece, not batches of the user's own")
        own = {name: value for name, value in run.settings.describe().items() if name != "lr"}
        if own != first:
            differing = [name for name in first if own[name] != first[name]]
            raise ModelError(
                f"member {k}: {differing[0]} is {own[differing[0]]}, that of member 0 {first[differing[0]]}"
            )


def _fit_all(
    runs: Sequence[Run], compile: bool | str, num_threads: compute.Threads, progress: bool | None, one_rate: bool
) -> list[FitResult]:
    flops = compute.step_flops(runs[0].forward_once) * len(runs)
    for run in runs[1:]:
        run.forward_once()
    number, reason = compute.choose_threads(num_threads, flops, Neighbours())
    choice = choose(compile, runs[0].steps(), flops)
    for run in runs:
        run.manifest.update(
            num_threads=number,
            num_threads_reason=reason,
            compile="batched, compiled" if choice.mode == "compiled" else "batched",
            compile_reason=f"{len(runs)} members take their steps together; {choice.reason}",
            steps_per_call=1,
        )
    with isolated(runs[0].seed, runs[0].device), compute.threads(number):
        started = [_started(run) for run in runs]
        members = [_member(run, state, stepper) for run, (state, stepper) in zip(runs, started, strict=True)]
        training = Training(runs, [state for state, _ in started], members, choice.mode == "compiled", one_rate)
        total = runs[0].total(0)
        with Progress(None if total is None else total * len(runs), progress) as bar:
            training.train(bar)
        return [finish_run(run, state, RunFolder(None)) for run, (state, _) in zip(runs, started, strict=True)]


def _started(run: Run) -> tuple[TrainingState, Stepper]:
    """The beginning of a run, drawn from its own stream: an objective may make its networks there."""
    with isolated(run.seed, run.device):
        return start_run(run)


def _member(run: Run, state: TrainingState, stepper: Stepper) -> Member:
    if any(name.startswith("store.") for name in state.weights.tensors()):
        raise ModelError("programs with pyro.param sites share them by name, so that several cannot train together")
    generator = torch.Generator(run.device).manual_seed(derived_seed(run.seed, TRAINING_STREAM))
    return Member(stepper, state.weights.buffers(), generator)


@dataclass
class Training:
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
