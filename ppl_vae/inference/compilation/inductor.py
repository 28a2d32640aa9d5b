"""Compiling a step's graph with Inductor, torch's own compiler; what was compiled once is used again.

All tensors are inputs of the graph, so its text and the shapes of its inputs say all that machine code is made
from. Random numbers are drawn by the same ATen kernels as in an eager step, from the same generator: a seed gives
the same draws in both. Code for the CPU is kept in the user's cache (``inference.compilation.code_cache``), where
another process finds it by the graph as it was traced, and needs neither Inductor nor the compiler.

Where the time goes, measured for the 784-400-20 pair on grey data, batch 128: about four fifths in matrix products
at the speed of torch.mm alone, the rest in Adam (one pass per weight), the cross entropy and its gradient, the
gathering of the batch and the calls themselves. With dynamic binarisation a serial generator takes another 5%.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import c_void_p
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from ppl_vae.errors import first_line
from ppl_vae.inference.compilation import code_cache, machine
from ppl_vae.inference.compilation.short_builds import short_builds
from ppl_vae.inference.compilation.step_graph import StepGraph, functional

Compiled = Callable[[list[Tensor]], Sequence[Tensor]]
# The function of a shared object, from handles of inputs to handles of outputs.
Entry: TypeAlias = Callable[[list[c_void_p]], list[c_void_p]]

# Checks of every tensor's layout at every call cost a tenth of a small step; the inputs are always the same. The
# pattern matcher would put a bias back into its product, where it is copied first. Reordering would take the draws
# from the generator in another order than the programs do. Inductor would build and run a test program for every
# set of vector instructions and start processes that compile nothing here: of 29 seconds of processor time for a
# first small step 16 are left. To compile the headers beforehand takes 5 seconds and saves one at each compilation.
# Kernels and what calls them are built apart, and at the same time (``short_builds``).
OPTIONS: dict[str, bool | int | None] = {
    "fallback_random": True,
    "pattern_matcher": False,
    "size_asserts": False,
    "alignment_asserts": False,
    "reorder_for_peak_memory": False,
    "cpp.vec_isa_ok": True,
    "compile_threads": 1,
    "cpp_cache_precompile_headers": False,
    "cpp_wrapper_build_separate": True,
}
# Where the compiler is older than the processor: the instructions that every compiler knows (AVX2, or none).
PLAINER = {**OPTIONS, "cpp.simdlen": 256}

_compiled: dict[str, Compiled] = {}
# Keys of code that came from the cache, of which nobody has seen yet what it computes.
_loaded: set[str] = set()
# Keys of code from there that proved wrong: the system would load the old file once more under its name.
_distrusted: set[str] = set()
# The function in the shared objects that Inductor makes.
ENTRY = "inductor_entry_cpp"
# Where the C++ that Inductor wrote calls Python, the code is of one process only.
CALLS_PYTHON = ("custom_op_wrapper", "PyObject_Call")


@functools.cache
def missing_compiler() -> str | None:
    """Why nothing can be compiled for the CPU here, or None."""
    if shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None:
        # The one that Inductor takes; to ask it would load it, which code from the cache does without.
        return None
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError, OSError):
        return "no C++ compiler was found (set CXX, or install g++ or clang)"
    return None


def compiled(graph: StepGraph, only_kept: bool = False) -> Compiled:
    """Machine code for a graph, called with all its inputs as one list, which it empties.

    Raises:
        RuntimeError: Inductor cannot translate the graph; or ``only_kept`` code is wanted, and there is none.
    """
    key = key_of(graph)
    if key not in _compiled:
        on_cpu = all(tensor.device.type == "cpu" for tensor in graph.inputs)
        known = _from_cache(key) if on_cpu and key not in _distrusted else None
        if known is None and only_kept:
            raise RuntimeError("no machine code of this very step is kept")
        _compiled[key] = _translated(graph, key) if known is None else known
    return _compiled[key]


def forget_loaded() -> bool:
    """Forget, here and in the cache, code that came from there and proved wrong; whether there was any."""
    for key in _loaded:
        code_cache.drop(key)
        _compiled.pop(key, None)
    _distrusted.update(_loaded)
    forgotten = bool(_loaded)
    _loaded.clear()
    return forgotten


def trust_loaded() -> None:
    """Keep what came from the cache: it was compared with the programs."""
    _loaded.clear()


def key_of(graph: StepGraph) -> str:
    """The name of a graph's machine code: a hash of all that it is made from."""
    described = [(tuple(t.shape), t.stride(), str(t.dtype), str(t.device)) for t in graph.inputs]
    parts = [part.code for part in graph.program.modules() if isinstance(part, fx.GraphModule)]
    about = machine.described(tuple(sorted(OPTIONS.items())))
    text = f"{parts}\n{described}\n{torch.get_num_threads()}\n{about}"
    return hashlib.sha256(text.encode()).hexdigest()


def _translated(graph: StepGraph, key: str) -> Compiled:
    with warnings.catch_warnings(), short_builds(_load_tables), _watched_entries() as entries:
        from torch._inductor.decomposition import select_decomp_table

        # Torch's remarks on its own modules are not the user's concern.
        warnings.simplefilter("ignore")
        program, mode = functional(graph, select_decomp_table())
        try:
            code = _compile(program, graph.inputs, mode)
        except Exception as error:
            if "C++ compile error" not in str(error):
                raise RuntimeError(f"torch's Inductor cannot translate them ({first_line(error)})") from error
            program, mode = functional(graph, select_decomp_table())
            code = _compile(program, graph.inputs, mode, PLAINER)
    if len(entries) == 1 and _is_whole(program, code, *entries):
        entry: Any = entries[0][1]
        path = Path(entry.__self__.__file__)
        with contextlib.suppress(OSError):
            code_cache.store(key, path.read_bytes())
    return code


def _load_tables() -> None:
    """Load what a run's history becomes when it ends, which takes half a second."""
    importlib.import_module("pandas")


def _is_whole(program: fx.GraphModule, code: Any, entry: tuple[str, Entry]) -> bool:
    """Tell whether the shared object is all that there is: no constants beside it, no way back into Python."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    tensors = all(isinstance(part, fx.Node) and isinstance(part.meta["val"], Tensor) for part in output.args[0])
    return tensors and not code.constants and not any(word in entry[0] for word in CALLS_PYTHON)


@contextlib.contextmanager
def _watched_entries() -> Iterator[list[tuple[str, Entry]]]:
    """Note the C++ of every shared object that Inductor makes or finds, and its function."""
    from torch._inductor.codecache import CppWrapperCodeCache

    entries: list[tuple[str, Entry]] = []
    load = CppWrapperCodeCache.load_pybinding

    def noted(*args: object, **options: str) -> Entry:
        entry = load(*args, **options)
        entries.append((options.get("main_code", CALLS_PYTHON[0]), entry))
        return entry

    setattr(CppWrapperCodeCache, "load_pybinding", noted)  # noqa: B010  (mypy: a method)
    try:
        yield entries
    finally:
        del CppWrapperCodeCache.load_pybinding


def _from_cache(key: str) -> Compiled | None:
    """The code that the cache holds, or None; what cannot be loaded is dropped."""
    path = code_cache.stored(key)
    if path is None:
        return None
    try:
        entry = _entry(path, key)
    except (ImportError, OSError, AttributeError):
        code_cache.drop(key)
        return None
    _loaded.add(key)

    def call(inputs: list[Tensor]) -> Sequence[Tensor]:
        handles = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(inputs)
        inputs.clear()
        outputs: Sequence[Tensor] = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(entry(handles))
        return outputs

    return call


def _entry(path: Path, key: str) -> Entry:
    """Load a shared object as the extension module that Inductor made it."""
    # The module reads there how to find a tensor's data, as Inductor's own loader tells it.
    os.environ["_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"] = str(
        torch._C._dynamo.guards._torchinductor_pyobject_tensor_data_ptr  # type: ignore[attr-defined]
    )
    name = f"ppl_vae_step_{key}.{ENTRY}"
    spec = importlib.util.spec_from_loader(name, ExtensionFileLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entry: Entry = module.inductor_entry_cpp
    return entry


def _compile(
    program: fx.GraphModule, inputs: Sequence[Tensor], mode: FakeTensorMode, options: Mapping[str, object] = OPTIONS
) -> Compiled:
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V

    from ppl_vae.inference.compilation.convolutions import C_FUNCTIONS

    settings: dict[str, object] = {**options, "aot_inductor.custom_ops_to_c_shims": C_FUNCTIONS}
    output = next(node for node in program.graph.nodes if node.op == "output")
    if not isinstance(output.args[0], tuple | list):
        output.args = ((output.args[0],),)
        program.recompile()
    fakes = [mode.from_tensor(tensor.detach()) for tensor in inputs]
    with torch.no_grad(), config.patch(settings), tracing(TracingContext(mode)), V.set_fake_mode(mode):
        # Calls from C++ in place of Python save 30 microseconds a step.
        on_cpu = all(tensor.device.type == "cpu" for tensor in inputs)
        return compile_fx_inner(program, fakes, is_inference=True, cpp_wrapper=on_cpu)
