"""Several training steps as one replay of a CUDA graph: one launch from Python in place of hundreds.

The step is compiled by Inductor where it can be (Triton kernels that fuse the element-wise work and Adam), else its
traced operations are recorded as they are. What differs from step to step is copied into buffers that the graph
reads. Torch registers its generator with the graph, so every replay draws new numbers from the seed's stream.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_vae.inference.compilation.adam import CapturedAdam
from ppl_vae.inference.compilation.inductor import compiled
from ppl_vae.inference.compilation.step_graph import StepGraph, trace
from ppl_vae.inference.compilation.steppers import CompiledStepper, TracedStepper, undone, whole_step
from ppl_vae.inference.training.batches import IndexedBatches

STEPS_A_REPLAY = 8
# Kernels are loaded, and libraries make their workspaces, at the first calls; none of that may be recorded.
WARM_UP_CALLS = 3


def cuda_graph_stepper(
    traced: TracedStepper, adam: CapturedAdam, batches: IndexedBatches, only_kept: bool = False
) -> CompiledStepper:
    """Record the whole step on batches like the first of these."""
    first, device = batches.indices[0], batches.x.device
    times = max(1, min(STEPS_A_REPLAY, sum(len(indices) == len(first) for indices in batches.indices)))
    step, kept = whole_step(traced, adam, batches.data), [*traced.parameters, *traced.buffers, *adam.state()]
    rates = adam.rates([1.0] * times, traced.eager.base_rates()).to(traced.parameters[0].dtype).to(device)
    inputs = [first.expand(times, -1).clone(), torch.zeros(times, dtype=torch.long, device=device), rates]
    with undone(kept):
        graph = trace(step, [batches.x, *(tensor[0] for tensor in inputs)], kept)
        one_step = _fused(graph, only_kept)

        @torch.no_grad()
        def all_steps() -> Tensor:
            return torch.stack([one_step(batches.x, *(tensor[i] for tensor in inputs)) for i in range(times)])

        replay, rows = _recorded(all_steps, device)

    def run(x: Tensor, *each: Tensor) -> Tensor:
        taken = []
        for values in zip(*(part.split(times) for part in each), strict=True):
            for buffer, value in zip(inputs, values, strict=True):
                buffer.copy_(value)
            replay()
            taken.append(rows.clone())
        return torch.cat(taken)

    return CompiledStepper(traced, adam, step, run, kept, len(first), times)


def _fused(graph: StepGraph, only_kept: bool) -> Callable[..., Tensor]:
    """One step of Inductor's kernels, or of the traced operations where there is no Triton for them."""
    try:
        code = compiled(graph, only_kept)
    except Exception:
        return graph

    def one_step(*given: Tensor) -> Tensor:
        (row,) = code([*given, *graph.kept])
        return row

    return one_step


def _recorded(function: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Record what a function launches: its replay, and the tensor that each replay leaves its result in."""
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_CALLS):
                function()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = function()
    return graph.replay, result
