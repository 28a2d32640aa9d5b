"""Compiling a step's graph in a process of its own, which leaves the machine code in the user's cache.

A graph reads all its tensors as inputs, so that its operations and the shapes of its inputs say all that another
process needs: no number of the data or of the weights is sent, and no code of the user's runs there. It compiles
what it was sent only if that has the key that it was sent with.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from operator import getitem
from typing import Any

import torch
from torch import fx, nn

from ppl_vae.files import JsonObject
from ppl_vae.inference.compilation import code_cache, inductor
from ppl_vae.inference.compilation.step_graph import StepGraph
from ppl_vae.inference.training.neighbours import cores

# What the other process ends with where it was sent something else than it has read.
ANOTHER_GRAPH = 3
# What an argument of an operation may be besides numbers, text and nodes, by the name of its type.
NAMED: Mapping[str, type] = {
    "dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format,
}  # fmt: skip


def order(graph: StepGraph) -> str:
    """Tell all of a graph that another process needs to compile it, as JSON.

    Raises:
        TypeError: an argument of an operation is none of those that can be told.
    """
    nodes = [
        [node.op, node.name, _told(node.target), _told(node.args), _told(dict(node.kwargs))]
        for node in graph.program.graph.nodes
    ]
    inputs = [[list(tensor.shape), list(tensor.stride()), _told(tensor.dtype)] for tensor in graph.inputs]
    facts = {"key": inductor.key_of(graph), "threads": torch.get_num_threads(), "num_given": graph.num_given}
    return json.dumps({**facts, "nodes": nodes, "inputs": inputs})


def graph_of(order: JsonObject) -> StepGraph:
    """The graph of an order, with inputs that hold no numbers."""
    graph, made = fx.Graph(), dict[str, fx.Node]()
    for kind, name, target, args, kwargs in order["nodes"]:
        made[name] = graph.create_node(
            kind, _understood(target, made), _understood(args, made), _understood(kwargs, made), name
        )
    # What nobody writes to takes no memory.
    inputs = [
        torch.empty_strided(shape, stride, dtype=_understood(dtype, made))
        for shape, stride, dtype in order["inputs"]
    ]
    return StepGraph(fx.GraphModule(nn.Module(), graph), inputs, order["num_given"])


class Elsewhere:
    """A process that compiles.

    Args:
        graph: of a step, on the CPU.
    """

    def __init__(self, graph: StepGraph) -> None:
        told = order(graph).encode()
        # It finds what this process finds.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with tempfile.TemporaryFile() as sent:
            # Not through a pipe, whose reader is busy with imports when it is full.
            sent.write(told)
            sent.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=sent,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                # Ctrl-C is for the training; and the compiler that it starts ends with it.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ended(self) -> int | None:
        """The exit code, None while it works."""
        return self._process.poll()

    def close(self) -> None:
        """End it, and what it has started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def can_compile_elsewhere(graph: StepGraph) -> bool:
    """Tell whether there is a core for it, a place for what it makes, and something to make."""
    on_cpu = all(tensor.device.type == "cpu" and tensor.layout is torch.strided for tensor in graph.inputs)
    return on_cpu and cores() > 1 and code_cache.is_open() and code_cache.stored(inductor.key_of(graph)) is None


def main(sent: str) -> int:
    """Compile what was sent; the exit code."""
    asked = json.loads(sent)
    torch.set_num_threads(asked["threads"])
    graph = graph_of(asked)
    if inductor.key_of(graph) != asked["key"]:
        return ANOTHER_GRAPH
    inductor.compiled(graph)
    return 0


def _told(value: object) -> object:
    """A target or an argument in JSON: what is no number, text or list is a dictionary that names its kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_told(part) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [_told(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": {name: _told(part) for name, part in value.items()}}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if value is getitem:
        return {"getitem": None}
    if isinstance(value, torch._ops.OpOverload):
        return {"operation": [value.namespace, value._opname, value._overloadname]}
    for kind, type_ in NAMED.items():
        if isinstance(value, type_):
            return {kind: str(value).removeprefix("torch.")}
    raise TypeError(f"{type(value).__name__} is no argument that can be told")


def _understood(told: Any, made: Mapping[str, fx.Node]) -> Any:
    """Read what ``_told`` has written."""
    if isinstance(told, list):
        return [_understood(part, made) for part in told]
    if not isinstance(told, dict):
        return told
    ((kind, value),) = told.items()
    if kind == "tuple":
        return tuple(_understood(part, made) for part in value)
    if kind == "dict":
        return {name: _understood(part, made) for name, part in value.items()}
    if kind == "node":
        return made[value]
    if kind == "device":
        return torch.device(value)
    if kind == "getitem":
        return getitem
    if kind == "operation":
        return functools.reduce(getattr, value, torch.ops)
    return vars(torch)[value]


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
