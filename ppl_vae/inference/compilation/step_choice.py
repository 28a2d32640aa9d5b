"""The choice between eager, traced and compiled steps, made once, by a stated rule and not by timing.

``compile=True`` compiles what can be compiled, ``"auto"`` what pays. A step saved from Pyro's handlers is worth
half a millisecond or more, and so is a compiled one over a traced one; large steps gain besides what their
element-wise work costs, about a millisecond for 10^9 operations. Against this stand a tenth to a quarter of a
second for a trace (a second for the deepest programs) and ten to twenty seconds for a compilation. "auto" asks for
a saving of at least the cost, so that a run that is mistaken in it is still not much longer than an eager one.
Where a step like this one was compiled before, its code is in the user's cache (``code_cache``) and costs a trace
alone; so the second of two runs may be compiled where the first was traced. Where nothing is kept, a run that
leaves no folder is traced while another process compiles (``changeover``). Ask for ``compile=False`` or ``True``
where two runs must be the same to the last bit.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ppl_vae.errors import reason_of
from ppl_vae.inference.compilation import code_cache, inductor
from ppl_vae.inference.compilation.adam import captured_adam
from ppl_vae.inference.compilation.agreement import require_same_gradients, require_same_terms, what_moves
from ppl_vae.inference.compilation.changeover import Changeover
from ppl_vae.inference.compilation.cuda_graphs import cuda_graph_stepper
from ppl_vae.inference.compilation.elsewhere import Elsewhere, can_compile_elsewhere
from ppl_vae.inference.compilation.inductor import missing_compiler
from ppl_vae.inference.compilation.steppers import TracedStepper, compiled_stepper, undone, whole_graph
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.steps import Stepper, Steps

MODES = ("eager", "traced", "compiled")

SECONDS_TO_TRACE, SECONDS_TO_COMPILE = 0.5, 20.0
# What a step gains by each: a part for Python, and one for the work of the step, per floating-point operation.
SECONDS_SAVED, SECONDS_SAVED_PER_FLOP = 0.5e-3, 1e-12
# The same of compiled steps, as measured (an MLP on MNIST: 4 ms for 5e8); code that is there needs no reserve.
SECONDS_SAVED_PER_FLOP_COMPILED = 4e-12


@dataclass(frozen=True)
class Choice:
    """A way to take steps.

    Attributes:
        mode: "eager", "traced" or "compiled".
        reason: why, in words.
        times: steps per call of compiled code.
        only_kept: whether machine code that is kept alone pays, and compiling does not.
    """

    mode: str
    reason: str
    times: int = 1
    only_kept: bool = False


# Who is told of a change of the steps.
Told = Callable[[Choice], None]


def choose(
    compile: bool | str, total_steps: int | None, flops: int, is_kept: Callable[[], bool] = lambda: False
) -> Choice:
    """The mode by the rule above.

    Args:
        compile: what the user asked for: True, False or "auto"; or the mode of the run that is continued.
        total_steps: of the whole run; None where unknown.
        flops: floating-point operations of a step's products.
        is_kept: tells whether a step like this one was compiled before; asked where it matters.
    """
    if compile is False:
        return Choice("eager", "compile=False")
    if compile is True:
        return Choice("compiled", "compile=True")
    if compile in MODES:
        return Choice(str(compile), "the run that is continued was so")
    if total_steps is None:
        return Choice("eager", "the number of the user's own batches is unknown")
    saved = total_steps * (SECONDS_SAVED + flops * SECONDS_SAVED_PER_FLOP)
    if saved >= SECONDS_TO_COMPILE and missing_compiler() is None:
        return Choice("compiled", f"{total_steps} steps of {flops:.1e} operations pay for the compiler")
    if total_steps * (SECONDS_SAVED + flops * SECONDS_SAVED_PER_FLOP_COMPILED) >= SECONDS_TO_TRACE and is_kept():
        words = f"{total_steps} steps pay for a trace, and machine code of such a step is kept"
        return Choice("compiled", words, only_kept=True)
    if saved >= SECONDS_TO_TRACE:
        return Choice("traced", f"{total_steps} steps pay for a trace, not for the compiler")
    return Choice("eager", f"{total_steps} steps are too few to pay for a trace")


def captured(
    choice: Choice,
    eager: Stepper,
    buffers: list[Tensor],
    batches: Iterable[Batch],
    insists: bool,
    whole_steps: bool = True,
    changed: Told | None = None,
) -> tuple[Steps, Choice]:
    """The steps of the chosen mode, or of the next best one that this pair allows, and which it is.

    Args:
        choice: what is wanted.
        eager: the step.
        buffers: what it may change besides the parameters.
        batches: of an epoch.
        insists: whether to warn where the choice cannot be had.
        whole_steps: whether compiled code may take the optimiser's step too, as it may not where the gradient is
            one of several processes.
        changed: is told when compiled steps take over from traced ones, which are taken while another process
            compiles; None lets the compiler finish first.
    """
    if choice.mode == "eager":
        return eager, choice
    # Whatever is drawn in trying out a captured step is no part of the run's stream.
    with undone([]):
        return _captured(choice, eager, buffers, batches, insists, whole_steps, changed)


def _captured(
    choice: Choice,
    eager: Stepper,
    buffers: list[Tensor],
    batches: Iterable[Batch],
    insists: bool,
    whole_steps: bool,
    changed: Told | None,
) -> tuple[Steps, Choice]:
    traced = TracedStepper(eager, buffers)
    if not isinstance(batches, IndexedBatches):
        return eager, _instead("eager", choice, "the batches are the user's own", insists)
    try:
        moving = what_moves(eager, buffers, batches)
    except Exception as error:
        return eager, _instead("eager", choice, reason_of(error), insists)
    if moving is not None:
        return eager, _instead("eager", choice, f"{moving}, which captured steps would not update", True)
    reason = None
    if choice.mode == "compiled" and changed is not None and not choice.only_kept:
        process = _compiling_elsewhere(traced, batches)
        if process is not None:
            return _until_compiled(traced, process, batches, choice, changed)
    if choice.mode == "compiled":
        try:
            return _compiled_or_again(traced, batches, choice, whole_steps)
        except Exception as error:
            reason = reason_of(error)
    try:
        require_same_gradients(traced, batches)
    except Exception as error:
        return eager, _instead("eager", choice, reason_of(error), insists)
    return traced, choice if reason is None else _instead("traced", choice, reason, insists)


def _compiled_or_again(
    traced: TracedStepper, batches: IndexedBatches, choice: Choice, whole_steps: bool
) -> tuple[Steps, Choice]:
    """Compiled steps; where code from the cache is not what the programs do, it is dropped and made anew."""
    try:
        steps = _compiled(traced, batches, choice, whole_steps)
    except Exception:
        if not inductor.forget_loaded() or choice.only_kept:
            raise
        steps = _compiled(traced, batches, choice, whole_steps)
    inductor.trust_loaded()
    example = batches.data.example(len(batches.indices[0]))
    code_cache.note(likeness(traced.eager, example, batches.data.num_total))
    return steps


def _compiling_elsewhere(traced: TracedStepper, batches: IndexedBatches) -> Elsewhere | None:
    """A process that compiles the whole step; None where it is kept, or who trains has to compile it."""
    if not isinstance(batches.x, Tensor) or missing_compiler() is not None:
        return None
    try:
        require_same_gradients(traced, batches)
        adam = captured_adam(traced.eager.optimizer, traced.trained(next(iter(batches))))
        graph = None if adam is None else whole_graph(traced, adam, batches)
        return Elsewhere(graph) if graph is not None and can_compile_elsewhere(graph) else None
    except Exception:
        # Who trains will find the same, and say it.
        return None


def _until_compiled(
    traced: TracedStepper, process: Elsewhere, batches: IndexedBatches, choice: Choice, changed: Told
) -> tuple[Steps, Choice]:
    def built(rest: IndexedBatches) -> Steps:
        with undone([]):
            return _compiled_or_again(traced, rest, choice, whole_steps=True)[0]

    def told(reason: str | None, step: int) -> None:
        if reason is None:
            words = f"{choice.reason}; traced until step {step}, while another process compiled them"
            changed(Choice("compiled", words))
        else:
            changed(_instead("traced", choice, reason, warns=False))

    steps = Changeover(traced, process, built, told, len(batches.indices[0]))
    return steps, Choice("traced", f"{choice.reason}; another process compiles them meanwhile")


def likeness(eager: Stepper, batch: Batch, num_data: int | None) -> str:
    """A name of the step before anything is traced; steps of the same name mostly have the same code."""
    parts = (eager.model, eager.guide, eager.objective)
    told = [repr(part) if isinstance(part, nn.Module) else type(part).__qualname__ for part in parts]
    shapes = [(tuple(leaf.shape), str(leaf.dtype)) for leaf in (*eager.parameters, *batch)]
    text = (
        f"{told}\n{num_data}\n{shapes}\n{type(eager.optimizer)}\n{eager.max_grad_norm}\n{torch.get_num_threads()}"
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _compiled(
    traced: TracedStepper, batches: IndexedBatches, choice: Choice, whole_steps: bool
) -> tuple[Steps, Choice]:
    if not isinstance(batches.x, Tensor):
        raise RuntimeError("the data become dense batch by batch, outside of compiled code")
    on_cpu = batches.x.device.type == "cpu"
    missing = missing_compiler()
    if missing is not None and on_cpu:
        raise RuntimeError(missing)
    trained = traced.trained(next(iter(batches)))
    adam = captured_adam(traced.eager.optimizer, trained) if whole_steps else None
    if adam is None:
        compiled_gradients = TracedStepper(traced.eager, traced.buffers, True, choice.only_kept)
        require_same_gradients(compiled_gradients, batches)
        return compiled_gradients, choice
    stepper = compiled_stepper if on_cpu else cuda_graph_stepper
    steps = stepper(traced, adam, batches, choice.only_kept)
    require_same_terms(steps, batches)
    return steps, replace(choice, times=steps.times)


def _instead(mode: str, choice: Choice, reason: str, warns: bool) -> Choice:
    if warns:
        asked = choice.reason if choice.reason == "compile=True" else "compile='auto'"
        warnings.warn(f"{asked}: the steps are {mode}, not {choice.mode}: {reason}", stacklevel=7)
    return Choice(mode, f"{choice.mode} steps were asked for, but {reason}")
