"""The epochs of a run: steps, evaluations, checkpoints; and what is left when it stops before its end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace

from torch import Tensor, nn

from ppl_vae.errors import CheckpointError, ConvergenceError
from ppl_vae.files import JsonObject
from ppl_vae.inference.compilation.agreement import STEPS_BETWEEN, drifted
from ppl_vae.inference.compilation.changeover import Changeover
from ppl_vae.inference.compilation.steppers import CompiledStepper, TracedStepper
from ppl_vae.inference.pair.admission import check_data, together
from ppl_vae.inference.pair.evaluation import evaluate_once
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.between_epochs import (
    Change,
    Look,
    eager_of,
    look,
    require_known,
    warn_of_first_alone,
    warn_of_rates,
    what_changed,
)
from ppl_vae.inference.training.callbacks import Callbacks
from ppl_vae.inference.training.data_scale import scale_note
from ppl_vae.inference.training.facts import as_history
from ppl_vae.inference.training.interruption import FitInterrupted, Interruptions
from ppl_vae.inference.training.preparation import Run
from ppl_vae.inference.training.progress import Progress
from ppl_vae.inference.training.rank_start import from_first
from ppl_vae.inference.training.rank_steps import RANK_STREAM, RankStepper, own_batches, require_same_buffers
from ppl_vae.inference.training.run_folder import RunFolder
from ppl_vae.inference.training.spare_threads import SpareThreads
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper, Steps, run_epoch
from ppl_vae.progress import in_notebook
from ppl_vae.randomness import derived_seed, reseed

SECONDS_BETWEEN_CHECKPOINTS = 1.0


def train(
    run: Run, state: TrainingState, steps: Steps, folder: RunFolder, bar: Progress, callbacks: Callbacks
) -> None:
    """Train until the last epoch, until patience runs out, or until a callback says so.

    Ctrl-C in a notebook ends the run with the epoch; the manifest says what stopped it.

    Whatever ends it before, the pair is left in evaluation mode with the weights of the last whole epoch, and the
    folder with the checkpoint of that epoch.

    Raises:
        ConvergenceError: a number stopped being finite.
        FitInterrupted: by Ctrl-C; it holds the history.
    """
    written_at, compared_at = time.monotonic(), state.step
    stopped: str | None = None
    run.manifest.pop("stopped_by", None)
    with Interruptions(folder.path is not None, whole_epochs=in_notebook()) as interruptions:
        while state.epoch < run.settings.epochs and not state.selection.exhausted(state.epoch) and not stopped:
            # Where nothing is written, the weights alone will do.
            before = state.tree() if folder.path is not None else {"weights": state.weights.state()}
            try:
                interruptions.deliver()
                if state.step - compared_at >= STEPS_BETWEEN:
                    steps, compared_at = _as_the_programs(run, state, steps, compared_at), state.step
                before_it = dict(run.manifest)
                row, num_data = _epoch(run, state, steps, bar, interruptions)
                _say_changes(bar, before_it, run.manifest)
            except BaseException as error:
                _go_back(run, state, before, folder)
                if isinstance(error, ConvergenceError):
                    where = f"the weights are back at the end of epoch {state.epoch}"
                    why = f"{run.objective.undefined}{scale_note(run.data.x, run.data.labels)}"
                    raise ConvergenceError(f"{error}{why}; {where}") from None
                if isinstance(error, KeyboardInterrupt):
                    raise _interrupted(state, folder) from error
                raise
            state.rows.append(row)
            bar.summarise(row)
            if run.data.validation is not None and state.step >= state.selection.since:
                state.selection.offer(row["validation_elbo"], state.epoch, state.weights.state)
            if time.monotonic() - written_at > SECONDS_BETWEEN_CHECKPOINTS:
                _write(run, state, folder)
                written_at = time.monotonic()
            seen = look(steps, state.weights, run.ranks is not None) if callbacks.called else None
            stopped = _stopped(run, state, steps, row, num_data, folder, callbacks, interruptions)
            if seen is not None:
                steps = _as_callbacks_left_it(run, state, steps, compared_at, seen)
        if state.step - compared_at >= STEPS_BETWEEN:
            _as_the_programs(run, state, steps, compared_at)
        _write(run, state, folder)
        # What arrives from here on is delivered when all this is done.
        rest(run, state)


def _say_changes(bar: Progress, before: JsonObject, now: JsonObject) -> None:
    """Tell of steps that became others during an epoch."""
    if now["compile"] != before["compile"]:
        bar.say(f"steps are {now['compile']}: {now['compile_reason']}")
    if now["num_threads"] != before["num_threads"]:
        bar.say(f"steps take {now['num_threads']} threads: {now['num_threads_reason']}")


def _stopped(
    run: Run,
    state: TrainingState,
    steps: Steps,
    row: dict[str, float],
    num_data: int,
    folder: RunFolder,
    callbacks: Callbacks,
    interruptions: Interruptions,
) -> str | None:
    """Tell callbacks of an epoch; what ends the run after it, which the manifest names, or None."""

    def told() -> str | None:
        answer = callbacks.tell(row, num_data)
        if callbacks.called:
            require_known(state.weights, eager_of(steps).parameters)
        return answer

    try:
        reason = from_first(run.ranks, told)
    except BaseException:
        # The epoch is whole, whatever a callback does.
        _write(run, state, folder)
        rest(run, state)
        raise
    if interruptions.asks_to_stop():
        reason = f"Ctrl-C in epoch {state.epoch}"
        warnings.warn(
            f"training was stopped by {reason}, which was finished: the result is the one so far", stacklevel=5
        )
    if reason is not None:
        run.manifest["stopped_by"] = reason
    return reason


def _as_callbacks_left_it(run: Run, state: TrainingState, steps: Steps, compared_at: int, before: Look) -> Steps:
    """Steps that do what callbacks changed; what none can do is warned of."""
    after = look(steps, state.weights, run.ranks is not None)
    warn_of_rates(eager_of(steps), before, after)
    change = what_changed(steps, before, after)
    if run.ranks is not None:
        warn_of_first_alone(before, after, change)
    return steps if change is None else _as_the_programs(run, state, steps, compared_at, change)


def _as_the_programs(
    run: Run, state: TrainingState, steps: Steps, compared_at: int, change: Change | None = None
) -> Steps:
    """Keep captured steps while they agree with the programs; else warn and go on with eager ones.

    Args:
        run: whose steps they are.
        state: of its training.
        steps: at present.
        compared_at: the step of the last comparison.
        change: what callbacks have just changed.
    """
    if isinstance(steps, RankStepper):
        own = _as_the_programs(run, state, steps.steps, compared_at, change)
        assert isinstance(own, Stepper | TracedStepper)
        return replace(steps, steps=own)
    if isinstance(steps, SpareThreads):
        steps.now = _as_the_programs(run, state, steps.now, compared_at, change)
        return steps
    if isinstance(steps, Changeover):
        own = _as_the_programs(run, state, steps.now, compared_at, change)
        if own is steps.now and steps.elsewhere is not None:
            return steps
        steps.close()
        return own
    if not isinstance(steps, CompiledStepper | TracedStepper):
        return steps
    reason = None if change is None else f"a callback changed {change.of}"
    if change is None or not change.certain:
        found = _drifted(run, state, steps)
        if found is None:
            return steps
        reason = reason or f"as since step {compared_at}: {found}"
    traced = steps.traced if isinstance(steps, CompiledStepper) else steps
    own = traced if change is not None and change.in_optimizer else traced.eager
    taken, before = "traced" if own is traced else "eager", run.manifest["compile"]
    joint = " " if change is None else ": "
    words = f"the steps are {taken} from epoch {state.epoch + 1} on, not {before}{joint}{reason}"
    warnings.warn(words, stacklevel=5)
    run.manifest.update(compile=taken, compile_reason=words, steps_per_call=1)
    return own


def _drifted(run: Run, state: TrainingState, steps: CompiledStepper | TracedStepper) -> str | None:
    """Compare captured steps with the programs on batches of the next epoch: how they differ, or None."""
    state.weights.train()
    batches = run.data.epoch(state.epoch + 1, run.batch_size, run.seed)
    batches = batches if run.ranks is None else own_batches(run.ranks, batches)
    assert isinstance(batches, IndexedBatches)
    return drifted(steps, batches, state.step)


def rest(run: Run, state: TrainingState) -> None:
    """Leave the pair in evaluation mode."""
    state.weights.train(False)
    if isinstance(run.pair.source, nn.Module):
        # The module that holds the two programs has a mode of its own.
        run.pair.source.eval()


def _write(run: Run, state: TrainingState, folder: RunFolder) -> None:
    try:
        folder.checkpoint({"state": state.tree(), "manifest": run.manifest})
    except CheckpointError:
        rest(run, state)
        raise


def _go_back(run: Run, state: TrainingState, before: JsonObject, folder: RunFolder) -> None:
    """Restore the last whole epoch in the pair and in the folder."""
    state.weights.restore(before["weights"])
    rest(run, state)
    if state.epoch:
        folder.checkpoint({"state": before, "manifest": run.manifest})


def _interrupted(state: TrainingState, folder: RunFolder) -> FitInterrupted:
    words = f"training was interrupted in epoch {state.epoch + 1}; the weights are those of epoch {state.epoch}"
    if folder.path is not None and state.epoch:
        words += f"; {folder.path} continues with resume=True"
    return FitInterrupted(words, as_history(state.rows))


def _epoch(
    run: Run, state: TrainingState, steps: Steps, bar: Progress, interruptions: Interruptions
) -> tuple[dict[str, float], int]:
    """Train one epoch and evaluate: its row of the history, and how many data it took."""
    started, epoch = time.perf_counter(), state.epoch + 1
    state.weights.train()
    batches = run.data.epoch(epoch, run.batch_size, run.seed)
    if run.data.x is None and not state.rows:
        batches = _judged(run.model, batches)

    taken = []

    def report(size: int, loss: Tensor) -> None:
        taken.append(size)
        bar.advance(size, loss)
        interruptions.deliver()

    if run.ranks is not None:
        # A stream for this epoch and rank, so that a run goes on on any number of ranks.
        reseed(derived_seed(run.seed, RANK_STREAM, epoch, run.ranks.own), run.device)
    next_step, means = run_epoch(steps, batches, epoch, state.step, report)
    if run.ranks is not None:
        require_same_buffers(run.ranks, state.weights.buffers_of_pair())
        run.ranks.copy_first(state.weights.tensors().values())

    def told_by_first() -> dict[str, float]:
        return {**evaluations(run, epoch), "seconds": time.perf_counter() - started}

    row = {"epoch": epoch, "step": next_step, **means, **from_first(run.ranks, told_by_first)}
    state.epoch, state.step = epoch, next_step
    return row, sum(taken)


def evaluations(run: Run, epoch: int) -> dict[str, float]:
    """The plain ELBO and its terms on the data held out."""
    row: dict[str, float] = {}
    for split, held_out in (("validation", run.data.validation), ("test", run.data.test)):
        if held_out is not None:
            whole = together(held_out) if isinstance(held_out, tuple) else held_out
            try:
                total = run.objective.num_total
                summary = evaluate_once(run.pair, whole, seed=run.seed, num_total=total).summary()
            except ConvergenceError as error:
                raise ConvergenceError(f"the {split} ELBO is not finite after epoch {epoch}: {error}") from None
            row |= {f"{split}_{term}": value for term, value in summary.items() if term != "elbo_stderr"}
    return row


def _judged(model: Program, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Judge the user's own batches by their values, each the first time it passes."""
    for batch in batches:
        check_data(model, *batch)
        yield batch
