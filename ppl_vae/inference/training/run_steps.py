"""The steps of a run: how they are taken, and on how many threads; the manifest says both, and why."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from ppl_vae.inference.compilation import code_cache
from ppl_vae.inference.compilation.agreement import what_moves
from ppl_vae.inference.compilation.step_choice import Choice, captured, choose, likeness
from ppl_vae.inference.compilation.steppers import TracedStepper, undone
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.preparation import Run
from ppl_vae.inference.training.rank_steps import RankStepper, own_batches
from ppl_vae.inference.training.rank_sums import sums_of
from ppl_vae.inference.training.spare_threads import SpareThreads
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper, Steps


def captured_steps(
    run: Run,
    state: TrainingState,
    eager: Stepper,
    compile: bool | str,
    flops: int,
    leaves_bytes: bool = True,
    goes_on: bool = False,
) -> Steps:
    """Choose eager, traced or compiled steps; the manifest says which, and why.

    Args:
        run: to be trained.
        state: of its training.
        eager: the step.
        compile: what the user asked for, or how the run was before.
        flops: of a step's products.
        leaves_bytes: whether the run promises its bytes, so that no step may depend on the time that it comes at.
        goes_on: whether it has begun, so that nothing may make it wait for a compiler.
    """
    batches, ranks = run.data.epoch(1, run.batch_size, run.seed), run.ranks
    total = None
    if isinstance(batches, IndexedBatches):
        total = len(batches.indices) * (run.settings.epochs - state.epoch)
    state.weights.train()

    def is_kept() -> bool:
        # An example, not a batch: nothing may be drawn here, nor from the generators of the user's own batches.
        own = not isinstance(batches, IndexedBatches)
        return not own and code_cache.is_noted(
            likeness(eager, run.data.example(run.part_size()), run.data.num_total)
        )

    choice = choose(compile, total, flops, is_kept)
    batches = batches if ranks is None else own_batches(ranks, batches)

    def noted(choice: Choice) -> None:
        run.manifest.update(compile=choice.mode, compile_reason=choice.reason, steps_per_call=choice.times)

    may_change = ranks is None and not leaves_bytes
    changed = noted if may_change and (compile == "auto" or goes_on) else None
    buffers = state.weights.untrained()
    steps, choice = captured(choice, eager, buffers, batches, compile is True, ranks is None, changed)
    noted(choice)
    if ranks is None:
        return steps
    assert isinstance(steps, Stepper | TracedStepper)
    return RankStepper(steps, ranks, run.seed, sums_of(ranks, eager.parameters))


def on_spare_threads(
    run: Run, state: TrainingState, steps: Steps, most: int, rebuilt: Callable[[], Steps]
) -> Steps:
    """Let the number of threads follow what other processes leave, up to so many."""

    def told(number: int, reason: str) -> None:
        words = f"{reason} by epoch {state.epoch + 1}"
        run.manifest.update(num_threads=number, num_threads_reason=words)

    return SpareThreads(steps, most, rebuilt, told)


def warn_of_python_state(run: Run, state: TrainingState, eager: Stepper, where: object) -> None:
    """Warn that a run goes on without what its programs keep in Python, which no checkpoint holds."""
    batches = run.data.epoch(1, run.batch_size, run.seed)
    if not isinstance(batches, IndexedBatches):
        return
    state.weights.train()
    # The first batch may be binarised by draws, which the run itself has still to make.
    with undone([]):
        moving = what_moves(eager, state.weights.untrained(), batches)
    if moving is not None:
        warnings.warn(
            f"{where}: {moving}, which no checkpoint holds: it begins anew, so that the resumed run is another one",
            stacklevel=5,
        )
