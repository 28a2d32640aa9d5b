"""Compiling a step's graph in a process of its own, which leaves the machine code in the user's cache.

A graph reads all its tensors as inputs, so that its operations and the shapes of its inputs say all that another
process needs: no number of the data or of the weights is sent, and no code of the user's runs there. It compiles
what it was sent only if that has the key that it was sent with.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from operator import getitem
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from ppl_vae.inference.compilation import code_cache, inductor
from ppl_vae.inference.compilation.step_graph import StepGraph
from ppl_vae.inference.training.neighbours import cores

# What the other process ends with where it was sent something else than it has read.
ANOTHER_GRAPH = 3
PACKAGE = Path(__file__).parents[3]


@dataclass(frozen=True)
class Reference:
    """A node of a graph where it is an argument, by its name."""

    name: str


@dataclass(frozen=True)
class Order:
    """What is to be compiled.

    Attributes:
        key: of the graph in the cache.
        threads: that the code is for.
        nodes: each as what it is, its name, its target, its arguments.
        inputs: shape, stride and dtype of each.
        num_given: how many of them differ from step to step.
    """

    key: str
    threads: int
    nodes: list[tuple[str, str, Any, Any, Any]]
    inputs: list[tuple[tuple[int, ...], tuple[int, ...], torch.dtype]]
    num_given: int

    def graph(self) -> StepGraph:
        """The graph, with inputs that hold no numbers."""
        graph, made = fx.Graph(), dict[str, fx.Node]()
        for kind, name, target, *arguments in self.nodes:
            args, kwargs = (_referred(part, made) for part in arguments)
            made[name] = graph.create_node(kind, _operation(target), args, kwargs, name)
        # What nobody writes to takes no memory.
        inputs = [torch.empty_strided(shape, stride, dtype=dtype) for shape, stride, dtype in self.inputs]
        return StepGraph(fx.GraphModule(nn.Module(), graph), inputs, self.num_given)


def order(graph: StepGraph) -> Order:
    """What has to be told of a graph to have it compiled elsewhere."""
    nodes = [
        (node.op, node.name, _told(node.target), _referring(node.args), _referring(node.kwargs))
        for node in graph.program.graph.nodes
    ]
    inputs = [(tuple(tensor.shape), tensor.stride(), tensor.dtype) for tensor in graph.inputs]
    return Order(inductor.key_of(graph), torch.get_num_threads(), nodes, inputs, graph.num_given)


class Elsewhere:
    """A process that compiles.

    Args:
        graph: of a step, on the CPU.
    """

    def __init__(self, graph: StepGraph) -> None:
        told = pickle.dumps(order(graph))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE), *filter(None, sys.path)])}
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


def main(sent: io.BufferedIOBase) -> int:
    """Compile what was sent; the exit code."""
    asked: Order = pickle.load(sent)
    torch.set_num_threads(asked.threads)
    graph = asked.graph()
    if inductor.key_of(graph) != asked.key:
        return ANOTHER_GRAPH
    inductor.compiled(graph)
    return 0


def _referring(arguments: Any) -> Any:
    return fx.node.map_aggregate(
        arguments, lambda item: Reference(item.name) if isinstance(item, fx.Node) else item
    )


def _referred(arguments: Any, made: Mapping[str, fx.Node]) -> Any:
    return fx.node.map_aggregate(arguments, lambda item: made[item.name] if isinstance(item, Reference) else item)


def _told(target: Any) -> Any:
    if target is getitem or isinstance(target, str):
        return target
    assert isinstance(target, torch._ops.OpOverload)
    return (target.namespace, target._opname, target._overloadname)


def _operation(told: Any) -> Any:
    if not isinstance(told, tuple):
        return told
    namespace, name, overload = told
    return getattr(getattr(getattr(torch.ops, namespace), name), overload)


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer))
