"""Captured training steps: the two programs run once, what they computed is replayed.

Three ways to take the same step, told apart by their cost:

    eager      Pyro runs the programs at every step
    traced     the tensor operations of the programs and of their gradient are replayed one by one: the same
               kernels on the same random numbers, bit for bit the eager step, without Pyro's handlers
    compiled   the whole step (batch, binarisation, forward, backward, clipping, Adam) is one call of machine code;
               on a GPU several steps are one replay of a CUDA graph (``inference.compilation.cuda_graphs``)

A step can be captured if its tensor work is static in shape and depends on no tensor's value. A smaller last batch
is traced, not compiled: a second compilation would cost seconds to save a millisecond an epoch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyro
import torch
from torch import Tensor

from ppl_vae.inference.compilation.adam import CapturedAdam
from ppl_vae.inference.compilation.inductor import compiled
from ppl_vae.inference.compilation.step_graph import StepGraph, trace
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import IndexedBatches, TrainingData
from ppl_vae.inference.training.steps import Stepper

Gradients = Callable[[Batch, Tensor], Sequence[Tensor]]
# Compiled steps between two looks at the progress bar.
STEPS_A_REPORT = 32


@contextlib.contextmanager
def undone(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Put back every tensor, and every generator, that a trial inside changes."""
    changed = list(tensors)
    before = [tensor.detach().clone() for tensor in changed]
    devices = sorted({tensor.device.index for tensor in changed if tensor.is_cuda})
    try:
        with torch.random.fork_rng(devices=devices), pyro.validation_enabled(False):
            yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)


@dataclass
class TracedStepper:
    """Replay the loss and its gradient; torch's optimiser does the rest.

    Attributes:
        eager: the step that is captured.
        buffers: what a step may change besides the parameters: buffers of the pair and of the objective.
        compiles: whether the graph is compiled.
        only_kept: whether to take machine code that is kept alone.
        replays: of the loss and its gradient, by the shapes of the batch.
    """

    eager: Stepper
    buffers: list[Tensor]
    compiles: bool = False
    only_kept: bool = False
    replays: dict[tuple[torch.Size, ...], Gradients] = field(default_factory=dict)

    @property
    def parameters(self) -> list[Tensor]:
        """The trainable leaves."""
        return self.eager.parameters

    def trained(self, batch: Batch) -> list[Tensor]:
        """The leaves that get a gradient."""
        with undone([*self.parameters, *self.buffers]):
            _, *gradients = self.eager.gradients(batch, torch.full((), 0, device=batch[0].device))
        return [leaf for leaf, g in zip(self.parameters, gradients, strict=True) if g is not None]

    def __call__(self, batch: Batch, step: int) -> Tensor:
        """Take step number ``step`` (from 0) on x [B, *event_shape], and its labels if any; its STEP_TERMS [3]."""
        row, *gradients = self.gradients(batch, torch.full((), step, device=batch[0].device))
        self.eager.descend(gradients, step)
        return row

    def gradients(self, batch: Batch, step: Tensor) -> Sequence[Tensor]:
        """Compute STEP_TERMS and the gradient by every parameter, as ``Stepper.gradients`` does."""
        try:
            replay = self.replay_for(batch)
        except Exception:
            # Batches of one size could be captured and those of another cannot: the programs take them.
            replay = self.replays[_shapes(batch)] = self.eager.gradients
        return replay(batch, step)

    def replay_for(self, batch: Batch) -> Gradients:
        """The replay for batches of these shapes; captured the first time."""
        shapes = _shapes(batch)
        if shapes not in self.replays:
            graph = self.traced(batch)
            self.replays[shapes] = (
                compiled_gradients(graph, self.only_kept) if self.compiles else traced_gradients(graph)
            )
        return self.replays[shapes]

    def epoch(self, batches: Iterable[Batch], first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take a step on every batch, one by one."""
        for step, batch in enumerate(batches, start=first_step):
            yield [len(batch[0])], self(batch, step).unsqueeze(0)

    def traced(self, batch: Batch) -> StepGraph:
        """The graph of the loss and its gradient on batches like this one."""
        given = [*batch, torch.full((), 0, device=batch[0].device)]
        kept, count = [*self.parameters, *self.buffers], len(batch)
        with undone(kept):
            return trace(lambda *inputs: self.eager.gradients(inputs[:count], inputs[count]), given, kept)


@dataclass
class CompiledStepper:
    """Run a whole training step as compiled code; a batch of another size runs the traced operations.

    Attributes:
        traced: takes the steps that are left over, such as on a smaller last batch.
        adam: the optimiser.
        step: the step as a function of (x, indices, step, rates), run eagerly.
        run: the same, captured: rows [S, 3] of S steps from (x, indices [S, B], steps [S], rates [S, numbers]),
            S a multiple of ``times``.
        kept: the tensors that it changes.
        batch_size: of its batches.
        times: steps per replay.
    """

    traced: TracedStepper
    adam: CapturedAdam
    step: Callable[..., Tensor]
    run: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    kept: list[Tensor]
    batch_size: int
    times: int = 1

    @property
    def parameters(self) -> list[Tensor]:
        """The trainable leaves."""
        return self.traced.parameters

    def take(self, batches: IndexedBatches, steps: int, first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take the first ``steps`` steps of these batches, a multiple of ``times``."""
        device = batches.x.device
        indices = torch.stack(batches.indices[:steps])
        numbers = torch.arange(first_step, first_step + steps, device=device)
        rates = self.rates(first_step, steps).to(device)
        at_once = self.times * max(1, STEPS_A_REPORT // self.times)
        for given in zip(*(part.split(at_once) for part in (indices, numbers, rates)), strict=True):
            rows = self.run(batches.x, *given)
            yield [self.batch_size] * len(rows), rows

    def rates(self, first_step: int, steps: int) -> Tensor:
        """The numbers that the optimiser reads in these steps: [S, numbers]."""
        eager = self.traced.eager
        factors = [eager.rate_factor(step) for step in range(first_step, first_step + steps)]
        return self.adam.rates(factors, eager.base_rates()).to(self.parameters[0].dtype)

    def epoch(self, batches: Iterable[Batch], first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take a step on every batch."""
        assert isinstance(batches, IndexedBatches)
        whole = sum(len(indices) == self.batch_size for indices in batches.indices)
        taken = whole - whole % self.times
        if taken:
            yield from self.take(batches, taken, first_step)
        self.adam.advance(taken)
        yield from self.traced.epoch(batches.part(taken), first_step + taken)
        self.adam.drop_subnormal()


def whole_step(traced: TracedStepper, adam: CapturedAdam, data: TrainingData) -> Callable[..., Tensor]:
    """The step as a function of (x, indices, step, rates) that changes weights and moments in place."""
    eager, state, leaves = traced.eager, adam.state(), adam.leaves()

    def step(x: Tensor, indices: Tensor, number: Tensor, rates: Tensor, *_: Tensor) -> Tensor:
        row, *gradients = eager.gradients(data.batch(x, indices), number)
        by_leaf = {id(leaf): g for leaf, g in zip(eager.parameters, gradients, strict=True)}
        adam.update(clipped([by_leaf[id(leaf)] for leaf in leaves], eager.max_grad_norm), state, rates)
        return row

    return step


def whole_graph(traced: TracedStepper, adam: CapturedAdam, batches: IndexedBatches) -> StepGraph:
    """The graph of the whole step on batches like the first of these."""
    indices, kept = batches.indices[0], _kept(traced, adam)
    rates = adam.rates([1.0], traced.eager.base_rates()).to(traced.parameters[0].dtype)[0].to(indices.device)
    inputs = [batches.x, indices, torch.full((), 0, device=indices.device), rates]
    with undone(kept):
        return trace(whole_step(traced, adam, batches.data), inputs, kept)


def _kept(traced: TracedStepper, adam: CapturedAdam) -> list[Tensor]:
    """The tensors that a whole step changes."""
    return [*traced.parameters, *traced.buffers, *adam.state()]


def compiled_stepper(
    traced: TracedStepper, adam: CapturedAdam, batches: IndexedBatches, only_kept: bool = False
) -> CompiledStepper:
    """Compile the whole step on batches like the first of these; ``only_kept`` code does no more than load it."""
    graph = whole_graph(traced, adam, batches)
    code = compiled(graph, only_kept)

    @torch.no_grad()
    def run(x: Tensor, *each: Tensor) -> Tensor:
        return torch.stack([code([x, *inputs, *graph.kept])[0] for inputs in zip(*each, strict=True)])

    step = whole_step(traced, adam, batches.data)
    return CompiledStepper(traced, adam, step, run, _kept(traced, adam), len(batches.indices[0]))


def clipped(gradients: Sequence[Tensor], max_norm: float | None) -> list[Tensor]:
    """Gradients whose global norm is at most ``max_norm``, as torch.nn.utils.clip_grad_norm_ leaves them."""
    if max_norm is None:
        return list(gradients)
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return [gradient * factor for gradient in gradients]


def traced_gradients(graph: StepGraph) -> Gradients:
    """The graph of the loss and its gradient, operation by operation."""
    return lambda batch, step: graph(*batch, step)


def compiled_gradients(graph: StepGraph, only_kept: bool = False) -> Gradients:
    """The graph of the loss and its gradient as machine code."""
    code = compiled(graph, only_kept)

    @torch.no_grad()
    def replay(batch: Batch, step: Tensor) -> Sequence[Tensor]:
        return code([*batch, step, *graph.kept])

    return replay


def _shapes(batch: Batch) -> tuple[torch.Size, ...]:
    return tuple(part.shape for part in batch)
