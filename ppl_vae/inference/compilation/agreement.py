"""The comparison of captured steps with the programs, before training and now and then during it."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ppl_vae.errors import reason_of
from ppl_vae.inference.compilation.moving_state import moved, put_back, remember
from ppl_vae.inference.compilation.steppers import CompiledStepper, TracedStepper, undone
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.steps import Stepper, Steps

# How far a captured step's terms may be from an eager one's: rounding, which exp and log enlarge, and no more.
TOLERANCE = 1e-4
# During training a comparison comes after at least this many captured steps. It costs two eager ones, as much as
# about twenty compiled ones of a small network: one in a hundred of the steps between.
STEPS_BETWEEN = 1600
OF_PROGRAMS = "the programs do something that is not tensor work, or that differs from call to call"
OF_CODE = "machine code is wrong, or the programs differ from call to call"
# By how many times more than a step in the precision of the weights machine code may move the terms.
TIMES_ROUNDING = 10.0


def require_same_gradients(
    captured: TracedStepper, batches: IndexedBatches, first_step: int = 0, count: int = 2
) -> None:
    """Refuse a graph that gives other numbers than the programs do, on batches and steps of the same draws."""
    eager = captured.eager
    for step, batch in enumerate(itertools.islice(batches, count), start=first_step):
        now = torch.full((), step, device=batches.x.device)
        differences, kept = [], [*eager.parameters, *captured.buffers]
        for way in (eager.gradients, captured.replay_for(batch)):
            with undone(kept):
                numbers = [t for t in way(batch, now) if t is not None]
                # What it leaves behind is what the next step begins with.
                differences.append([*numbers, *(tensor.detach().clone() for tensor in kept)])
        for ours, theirs in zip(*differences, strict=True):
            require_close(ours, theirs)


def require_same_terms(steps: CompiledStepper, batches: IndexedBatches, first_step: int = 0) -> None:
    """Refuse machine code whose terms and buffers after a few updates are others than the programs' own.

    Where rounding decides they may differ as much as the programs do with weights that are rounded otherwise: the
    gradient of the bias before a batch norm is rounding alone, which Adam enlarges to whole steps.
    """
    whole = sum(len(indices) == steps.batch_size for indices in batches.indices)
    count = min(2, whole) if steps.times == 1 else steps.times
    expected = _by_programs(steps, batches, first_step, count)
    with undone(steps.kept):
        rows = torch.cat([rows for _, rows in steps.take(batches, count, first_step)])
        found = [rows, *(buffer.clone() for buffer in steps.traced.buffers)]
    rounded = expected
    if not all(_distance(*each) <= TOLERANCE for each in zip(found, expected, strict=True)):
        rounded = _by_programs(steps, batches, first_step, count, rounded=True)
    for ours, theirs, others in zip(found, expected, rounded, strict=True):
        require_close(ours, theirs, OF_CODE, TOLERANCE + TIMES_ROUNDING * _distance(others, theirs))


def _by_programs(
    steps: CompiledStepper, batches: IndexedBatches, first_step: int, count: int, rounded: bool = False
) -> list[Tensor]:
    """The terms of some steps by the programs [S, T], and the buffers after them.

    ``rounded`` is whether they begin with weights that differ by a step of their precision.
    """
    whole = [indices for indices in batches.indices if len(indices) == steps.batch_size]
    rates, device = steps.rates(first_step, count).to(batches.x.device), batches.x.device
    with undone(steps.kept):
        for leaf in steps.traced.parameters if rounded else ():
            leaf.data.mul_(1 + torch.finfo(leaf.dtype).eps)
        rows = [
            steps.step(batches.x, whole[i], torch.full((), first_step + i, device=device), rates[i])
            for i in range(count)
        ]
        return [torch.stack(rows), *(buffer.clone() for buffer in steps.traced.buffers)]


def require_close(found: Tensor, expected: Tensor, reason: str = OF_PROGRAMS, allowed: float = TOLERANCE) -> None:
    """Refuse numbers that differ by more than rounding.

    Args:
        found: by what is captured.
        expected: by the programs, or by the operations that were written down.
        reason: why they may differ.
        allowed: how far they may, in parts of the largest, or of 1.

    Raises:
        RuntimeError: they do.
    """
    if not _distance(found, expected) <= allowed:
        error = (found.double() - expected.double()).abs().max()
        raise RuntimeError(f"the captured step's numbers differ by {error:.2g} from the eager one's: {reason}")


def _distance(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in parts of the largest number, or of 1 where that is smaller; NaN counts as such."""
    if not found.numel():
        return 0.0
    found, expected = found.double(), expected.double()
    return float((found - expected).abs().max() / (1 + expected.abs().max()))


def what_moves(eager: Stepper, buffers: list[Tensor], batches: IndexedBatches) -> str | None:
    """Name what moves in the programs from call to call, or None; what two eager steps moved is put back."""
    batch, kept = next(iter(batches)), [*eager.parameters, *buffers]
    programs = eager.model, eager.guide, eager.objective
    memories, rows = [remember(programs, kept)], []
    for _ in range(2):
        with undone(kept):
            rows.append(eager.gradients(batch, torch.full((), 0, device=batch[0].device))[0])
        memories.append(remember(programs, kept))
    name = moved(*memories)
    exact = 0.0 if batch[0].device.type == "cpu" else TOLERANCE
    first, second = rows
    if name is None and not torch.allclose(first, second, rtol=exact, atol=exact, equal_nan=True):
        name = "something that is in no attribute, closure or global"
    if name is None:
        return None
    put_back(memories[0])
    return f"the programs hold state that moves from call to call ({name})"


def drifted(steps: Steps, batches: IndexedBatches, first_step: int) -> str | None:
    """Why captured steps are no longer those of the programs, or None; nothing moves by the comparison."""
    try:
        with undone([]):
            if isinstance(steps, CompiledStepper):
                require_same_terms(steps, batches, first_step)
            elif isinstance(steps, TracedStepper):
                require_same_gradients(steps, batches, first_step, count=1)
    except Exception as error:
        return reason_of(error)
    return None
