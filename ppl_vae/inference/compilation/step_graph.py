"""A training step as one flat graph of tensor operations, without the Python that wrote it.

The programs are run once on real tensors while every ATen operation, forward and backward, is written down. The
graph reads all its tensors as inputs: weights, buffers, the optimiser's state, the data, and whatever constants
the programs made on their way. Nothing is baked in but shapes and Python numbers, so a graph's text says what it
computes, and another pair of the same shapes may use what was compiled for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from ppl_vae.recording import record

aten = torch.ops.aten

SHAPED_BY_VALUES = {aten.nonzero.default, aten.masked_select.default, aten._unique2.default}


@dataclass(frozen=True)
class StepGraph:
    """A graph and the tensors that it is called with.

    Attributes:
        program: called with ``inputs``, in order; the first ``num_given`` are replaced by the caller at each step.
        inputs: what it reads, and changes in place.
        num_given: how many of them differ from step to step.
    """

    program: fx.GraphModule
    inputs: list[Tensor]
    num_given: int

    @property
    def kept(self) -> list[Tensor]:
        """The inputs that are the same at every step."""
        return self.inputs[self.num_given :]

    @torch.no_grad()
    def __call__(self, *given: Tensor) -> Any:
        """Run it on what differs in this step; the derivatives are in it."""
        return self.program(*given, *self.kept)


def trace(function: Callable[..., object], given: Sequence[Tensor], kept: Sequence[Tensor]) -> StepGraph:
    """Write down what ``function(*given, *kept)`` does.

    ``kept`` are the very tensors that the programs hold, so that no program has to be rewritten; what the function
    changes in place is really changed.

    Raises:
        RuntimeError: the function looks at a tensor's value (``.item()``, ``if tensor``), takes as many values as a
            mask of them says, or torch cannot follow.
    """
    inputs = [*given, *kept]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recording = record(function, *inputs)
    _require_fixed_shapes(recording.program.graph, len(given), len(inputs))
    return StepGraph(recording.program, [*inputs, *recording.constants], len(given))


def _require_fixed_shapes(graph: fx.Graph, num_given: int, num_inputs: int) -> None:
    """Refuse operations whose result has another shape at every step: what is written down has those of one.

    Args:
        graph: as recorded.
        num_given: how many of its inputs differ from step to step.
        num_inputs: how many are no constants.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    given, constants = inputs[:num_given], inputs[num_inputs:]
    for node in graph.nodes:
        masks = [node] if node.target in SHAPED_BY_VALUES else _masks(node)
        if any(mask in given or _varies(mask, constants) for mask in masks):
            raise RuntimeError(f"{node.target} takes as many values as they say themselves, as x[mask] does")


def _masks(node: fx.Node) -> list[fx.Node]:
    """The booleans by which values are taken."""
    if node.target is not aten.index.Tensor:
        return []
    facts = [(each, each.meta.get("val")) for each in node.all_input_nodes]
    return [
        each for each, fact in facts if fact is not None and fact.dtype is torch.bool and each is not node.args[0]
    ]


def _varies(node: fx.Node, constants: Sequence[fx.Node]) -> bool:
    """Tell whether a value is made of draws, or of what is given or trained."""
    seen, waiting = set(), list(node.all_input_nodes) or ([] if node.op != "call_function" else [node])
    while waiting:
        each = waiting.pop()
        is_input = each.op == "placeholder" and each not in constants
        if is_input or torch.Tag.nondeterministic_seeded in getattr(each.target, "tags", ()):
            return True
        waiting += [before for before in each.all_input_nodes if before not in seen]
        seen.update(each.all_input_nodes)
    return False


def functional(
    graph: StepGraph, decompositions: Mapping[torch._ops.OpOverload, Callable[..., object]]
) -> tuple[fx.GraphModule, FakeTensorMode]:
    """The same in operations that change nothing, with the changes of inputs as copies at the end.

    Args:
        graph: as traced.
        decompositions: of large operations into small ones, as ``make_fx`` takes them.
    """
    # To load these loads torch's compiler, which code that is kept does without.
    from torch.fx.experimental.proxy_tensor import make_fx

    # To define an operation of its own takes 30 ms, which code that is kept does without too.
    from ppl_vae.inference.compilation.rewrites import rewrite

    # Newer torch takes a draw N(m, s) apart, which rounds otherwise than the eager kernel does.
    rules = {op: rule for op, rule in decompositions.items() if op is not aten.normal_functional.default}
    mode = FakeTensorMode()
    fakes = [mode.from_tensor(tensor.detach()) for tensor in graph.inputs]
    with torch.no_grad(), mode:
        pure = torch.func.functionalize(lambda *inputs: graph.program(*inputs))
        program = make_fx(pure, decomposition_table=rules)(*fakes)
        program.graph.set_codegen(fx.graph.CodeGen())
        _changes_last(program.graph)
        rewrite(program.graph)
    program.recompile()
    return program, mode


def _changes_last(graph: fx.Graph) -> None:
    """Move the changes of inputs to the end; until then whoever reads a changed one reads what it becomes.

    Decomposed, a batch norm changes its running moments in the middle, and Inductor then lets what reads a mask of
    dropout run before the mask is drawn.
    """
    *_, output = graph.nodes
    latest: dict[fx.Node, fx.Node] = {}
    for node in list(graph.nodes):
        target = node.args[0] if node.target is aten.copy_.default else None
        for each in node.all_input_nodes:
            if each in latest and each is not target:
                node.replace_input_with(each, latest[each])
        if isinstance(target, fx.Node) and target.op == "placeholder":
            with graph.inserting_before(node):
                # In the type and shape of what it changes.
                value = graph.call_function(aten.copy.default, node.args)
            value.meta["val"] = target.meta["val"]
            node.replace_all_uses_with(value)
            graph.erase_node(node)
            latest[target] = value
    with graph.inserting_before(output):
        for target, value in latest.items():
            graph.call_function(aten.copy_.default, (target, value)).meta["val"] = target.meta["val"]
