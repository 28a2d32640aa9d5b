"""A function written down as a flat graph of tensor operations, without the Python that made them.

The function runs once, on real tensors, below autograd: every ATen operation, forward and backward, becomes a node.
The graph is that of torch's ``make_fx`` in its "real" mode, which loads torch's compiler and SymPy before it
begins: more than a second of processor time in every process.

A tensor that is neither given nor made by a recorded operation is a constant of the programs, and a further input
of the graph. Python numbers are part of it. A value that the programs look at (``.item()``, ``if tensor``) is
refused where it depends on what is given or drawn, since the next call may find another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from ppl_vae.unloaded import compiler_unloaded

aten = torch.ops.aten
# Other kinds, such as tensors that are spread over devices, do their work out of sight.
PLAIN = (Tensor, nn.Parameter)
_recording = ContextVar("_recording", default=False)
# Says which values a node's arguments may hold.
_tracer = fx.proxy.TracerBase()


@dataclass(frozen=True)
class Recording:
    """A graph and the tensors that it is called with.

    Attributes:
        program: called with as many tensors as were given, and then the constants.
        constants: what the function found elsewhere than in its arguments.
    """

    program: fx.GraphModule
    constants: list[Tensor]

    @torch.no_grad()
    def __call__(self, *given: Tensor) -> Any:
        """Do the same with other numbers; derivatives are in it as far as the function took them."""
        return self.program(*given, *self.constants)


def record(function: Callable[..., object], *given: Tensor) -> Recording:
    """Write down what ``function(*given)`` does; what it changes in place is really changed.

    Raises:
        RuntimeError: the function looks at a value that the next call may find otherwise.
        NotImplementedError: an operation takes what no graph holds, such as a generator of random numbers.
    """
    recorder = Recorder(given)
    told = _recording.set(True)
    try:
        with _no_cached_casts(), compiler_unloaded(Recorder.__torch_dispatch__), recorder:
            result: Any = function(*given)
    finally:
        _recording.reset(told)
    recorder.graph.output(fx.node.map_aggregate(result, recorder.written))
    return Recording(fx.GraphModule(nn.Module(), recorder.graph), recorder.constants)


def is_recording() -> bool:
    """Tell whether the calling code is being recorded, when no value can be looked at."""
    return _recording.get()


class Recorder(TorchDispatchMode):
    """Writes the operations that run inside of it.

    Args:
        given: the first inputs of the graph.

    Attributes:
        graph: what was written.
        constants: the tensors of its further inputs.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: list[Tensor] = []
        self._nodes = WeakTensorKeyDictionary()
        # Made of Python numbers alone: the values are the same at every call.
        self._settled = WeakTensorKeyDictionary()
        # Constants as they were found, by id.
        self._found: set[int] = set()
        self._last_input: fx.Node | None = None
        for index, tensor in enumerate(given):
            self._add_input(f"given_{index}", tensor)

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: Mapping[str, Argument] | None = None,
    ) -> Any:
        """Do one operation, and write it down."""
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        tensors = _tensors((args, kwargs))
        if any(type(tensor) not in PLAIN and tensor not in self._nodes for tensor in tensors):
            return NotImplemented
        if torch.Tag.data_dependent_output in func.tags:
            if all(map(self._may_be_looked_at, tensors)):
                return func(*args, **kwargs)
            raise RuntimeError(f"they look at a value of a tensor ({func}), which may be another at the next call")
        if func is aten.lift_fresh.default:
            # A new tensor of Python numbers: as a copy, it may be changed in place, and the constant is not.
            func = aten.lift_fresh_copy.default
        result = func(*args, **kwargs)
        # Else it asked torch something, such as a common type of two.
        if tensors or _tensors(result):
            written = (fx.node.map_aggregate(part, self.written) for part in (args, kwargs))
            node = self.graph.create_node("call_function", func, *written)  # type: ignore[arg-type]
            self._account_for(result, node, self._is_settled(func, tensors))
        return result

    def _may_be_looked_at(self, tensor: Tensor) -> bool:
        return tensor not in self._nodes or id(tensor) in self._found or tensor in self._settled

    def _is_settled(self, func: torch._ops.OpOverload, tensors: Sequence[Tensor]) -> bool:
        if func is aten.lift_fresh_copy.default:
            return True
        if torch.Tag.nondeterministic_seeded in func.tags or not any(tensor in self._settled for tensor in tensors):
            return False
        return all(map(self._may_be_looked_at, tensors))

    def written(self, value: object) -> Any:
        """A value as an argument of a node."""
        if not isinstance(value, Tensor):
            return _tracer.create_arg(value)
        if value not in self._nodes:
            self.constants.append(value)
            self._add_input(f"constant_{len(self.constants) - 1}", value)
            self._found.add(id(value))
        return self._nodes[value]

    def _add_input(self, name: str, tensor: Tensor) -> None:
        last = self._last_input
        with self.graph.inserting_before() if last is None else self.graph.inserting_after(last):
            self._last_input = self.graph.placeholder(name)
        self._account_for(tensor, self._last_input)

    def _account_for(self, result: object, node: fx.Node, settled: bool = False) -> None:
        if isinstance(result, Tensor):
            self._nodes[result] = node
            # An operation may have changed what was there.
            self._found.discard(id(result))
            self._settled.pop(result, None)
            if settled:
                self._settled[result] = True
            if result.layout is torch.strided:
                node.meta["val"] = torch.empty_strided(
                    result.shape, result.stride(), dtype=result.dtype, device="meta"
                )
        elif isinstance(result, tuple | list):
            for index, part in enumerate(result):
                if isinstance(part, Tensor | tuple | list):
                    own = self.graph.call_function(getitem, (node, index))
                    self._account_for(part, own, settled)


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def note(value: Argument) -> Argument:
        if isinstance(value, Tensor):
            found.append(value)
        return value

    fx.node.map_aggregate(values, note)
    return found


@contextlib.contextmanager
def _no_cached_casts() -> Iterator[None]:
    """Let autocast make every copy of a weight anew: one that was made before is no operation of the function."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
