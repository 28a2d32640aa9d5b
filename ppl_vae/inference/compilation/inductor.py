"""Compiling a step's graph with Inductor, torch's own compiler; what was compiled once is used again.

All tensors are inputs of the graph, so its text and the shapes of its inputs say all that machine code is made
from. Random numbers are drawn by the same ATen kernels as in an eager step, from the same generator: a seed gives
the same draws in both.

Where the time goes, measured for the 784-400-20 pair on grey data, batch 128: about four fifths in matrix products
at the speed of torch.mm alone, the rest in Adam (one pass per weight), the cross entropy and its gradient, the
gathering of the batch and the calls themselves. With dynamic binarisation a serial generator takes another 5%.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ppl_vae.inference.compilation.step_graph import StepGraph, functional

Compiled = Callable[[list[Tensor]], Sequence[Tensor]]

# Checks of every tensor's layout at every call cost a tenth of a small step; the inputs are always the same. The
# pattern matcher would put a bias back into its product, where it is copied first. Reordering would take the draws
# from the generator in another order than the programs do.
OPTIONS = {
    "fallback_random": True,
    "pattern_matcher": False,
    "size_asserts": False,
    "alignment_asserts": False,
    "reorder_for_peak_memory": False,
}

_compiled: dict[str, Compiled] = {}


@functools.cache
def missing_compiler() -> str | None:
    """Why nothing can be compiled for the CPU here, or None."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError, OSError):
        return "no C++ compiler was found (set CXX, or install g++ or clang)"
    return None


def compiled(graph: StepGraph) -> Compiled:
    """Machine code for a graph, called with all its inputs as one list, which it empties."""
    from torch._inductor.decomposition import select_decomp_table

    with warnings.catch_warnings():
        # Torch's remarks on its own modules are not the user's concern.
        warnings.simplefilter("ignore")
        program, mode = functional(graph, select_decomp_table())
        key = _key(program, graph.inputs)
        if key not in _compiled:
            _compiled[key] = _compile(program, graph.inputs, mode)
    return _compiled[key]


def _key(program: fx.GraphModule, inputs: Sequence[Tensor]) -> str:
    described = [(tuple(t.shape), t.stride(), str(t.dtype), str(t.device)) for t in inputs]
    text = f"{program.code}\n{described}\n{torch.get_num_threads()}"
    return hashlib.sha256(text.encode()).hexdigest()


def _compile(program: fx.GraphModule, inputs: Sequence[Tensor], mode: Any) -> Compiled:
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    output = next(node for node in program.graph.nodes if node.op == "output")
    if not isinstance(output.args[0], tuple | list):
        output.args = ((output.args[0],),)
        program.recompile()
    fakes = [mode.from_tensor(tensor.detach()) for tensor in inputs]
    with torch.no_grad(), config.patch(OPTIONS), tracing(TracingContext(mode)), V.set_fake_mode(mode):
        FakeTensorProp(program, mode).propagate_dont_convert_inputs(*fakes)
        # Calls from C++ in place of Python save 30 microseconds a step.
        on_cpu = all(tensor.device.type == "cpu" for tensor in inputs)
        return compile_fx_inner(program, fakes, is_inference=True, cpp_wrapper=on_cpu)
