"""A recording without what is the same at every call.

What is made of constants alone is worked out once; an operation that stands twice is done once; a view of the
same shape, an alias, and a first power are left out. No number changes: the operations that are left are those of
the recording, in its order. Constants must stay as they are for as long as the recording is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx

from ppl_vae.recording import Recording

aten = torch.ops.aten
# The same tensor again, where nothing is changed in place; the second kind where shape and strides agree.
ALIASES = {aten.detach.default, aten.alias.default}
VIEWS = {aten.view.default, aten.expand.default, aten.reshape.default, aten._unsafe_view.default}
# Their values do not depend on those of the tensor that they are like.
FILLED = {
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.new_zeros.default,
    aten.new_ones.default, aten.new_full.default,
}  # fmt: skip
UNFILLED = {aten.empty.memory_format, aten.empty_like.default, aten.new_empty.default, aten.empty_strided.default}
# Bytes that a value worked out beforehand may hold, since it stays.
MOST_KEPT = 1 << 22


def folded(recording: Recording, *given: Tensor) -> Recording:
    """The same function of what is given, by fewer operations; the recording itself where it changes what it finds.

    Args:
        recording: of a function of ``given``.
        given: tensors of the shapes and strides that it was recorded with.
    """
    graph = recording.program.graph
    if any(_changes_what_it_finds(node) for node in graph.nodes):
        return recording
    folding = _Folding(graph, [*given, *recording.constants], len(given))
    with torch.no_grad():
        folding.walk()
    folding.graph.eliminate_dead_code()
    return Recording(fx.GraphModule(recording.program, folding.graph), list(folding.kept))


@dataclass
class _Folding:
    """The new graph while the old one is walked.

    Attributes:
        old: the graph.
        inputs: a tensor for each of its inputs.
        num_given: how many of these differ from call to call.
        graph: the new one.
        kept: the constants of the new one.
        value: what every node of the old one is here.
        known: nodes that are the same at every call.
        new: the node that stands for one of the old graph.
        done: a node by what it does, so that nothing is done twice.
    """

    old: fx.Graph
    inputs: list[Tensor]
    num_given: int
    graph: fx.Graph = field(default_factory=fx.Graph)
    kept: list[Tensor] = field(default_factory=list)
    value: dict[fx.Node, Any] = field(default_factory=dict)
    known: set[fx.Node] = field(default_factory=set)
    new: dict[fx.Node, fx.Node] = field(default_factory=dict)
    done: dict[str, fx.Node] = field(default_factory=dict)

    def walk(self) -> None:
        """Write the new graph: first what is known, then the inputs, then the rest."""
        nodes = list(self.old.nodes)
        inputs = [node for node in nodes if node.op == "placeholder"]
        for index, (node, tensor) in enumerate(zip(inputs, self.inputs, strict=True)):
            self.value[node] = tensor
            if index >= self.num_given:
                self.known.add(node)
        for node in nodes:
            if node.op == "call_function":
                self._run(node)
        for node in inputs[: self.num_given]:
            self.new[node] = self.graph.placeholder(node.name)
        for node in nodes:
            if node in self.known and any(user not in self.known for user in node.users):
                self._keep(node)
        for node in nodes:
            if node.op == "call_function" and node not in self.known:
                self._write(node)
            elif node.op == "output":
                self.graph.output(fx.node.map_arg(node.args[0], self.new.__getitem__))

    def _run(self, node: fx.Node) -> None:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.value.__getitem__)
        assert callable(node.target)
        made = self.value[node] = node.target(*args, **kwargs)
        same = node.target in FILLED or all(each in self.known for each in node.all_input_nodes)
        if same and not _is_new(node) and self._may_be_kept(node, made):
            self.known.add(node)

    def _may_be_kept(self, node: fx.Node, made: object) -> bool:
        if not isinstance(made, Tensor):
            return all(user.target is getitem for user in node.users)
        # What is returned is the caller's, who may change it.
        if any(user.op == "output" for user in node.users):
            return False
        before = (self.value[each] for each in node.all_input_nodes)
        places = {each.untyped_storage().data_ptr() for each in before if isinstance(each, Tensor)}
        storage = made.untyped_storage()
        return node.target is getitem or storage.nbytes() <= MOST_KEPT or storage.data_ptr() in places

    def _keep(self, node: fx.Node) -> None:
        made = self.value[node]
        assert isinstance(made, Tensor)
        self.new[node] = self.graph.placeholder(f"kept_{len(self.kept)}")
        self.kept.append(made)

    def _write(self, node: fx.Node) -> None:
        first = node.args[0] if node.args else None
        is_result = any(user.op == "output" for user in node.users)
        if isinstance(first, fx.Node) and not is_result and self._is_same(node, first):
            self.new[node] = self.new[first]
            return
        if _is_new(node):
            self.new[node] = self.graph.node_copy(node, self.new.__getitem__)
            return
        does = repr((str(node.target), fx.node.map_arg((node.args, node.kwargs), self.new.__getitem__)))
        if does not in self.done or is_result:
            self.done[does] = self.graph.node_copy(node, self.new.__getitem__)
        self.new[node] = self.done[does]

    def _is_same(self, node: fx.Node, first: fx.Node) -> bool:
        before, after = self.value[first], self.value[node]
        if node.target in ALIASES:
            return True
        if not (isinstance(before, Tensor) and isinstance(after, Tensor)):
            return False
        if node.target is aten.pow.Tensor_Scalar:
            return bool(node.args[1] == 1) and before.dtype == after.dtype
        alike = before.shape == after.shape and before.stride() == after.stride()
        return node.target in VIEWS and alike


def _tags(node: fx.Node) -> list[torch.Tag]:
    return list(getattr(node.target, "tags", ()))


def _is_new(node: fx.Node) -> bool:
    """Tell whether a node makes another value at every call: random numbers, or memory as it is found."""
    return torch.Tag.nondeterministic_seeded in _tags(node) or node.target in UNFILLED or _is_mutable(node)


def _is_mutable(node: fx.Node) -> bool:
    return bool(getattr(getattr(node.target, "_schema", None), "is_mutable", False))


def _changes_what_it_finds(node: fx.Node) -> bool:
    """Tell whether an operation changes more than new memory that nothing else has seen, as random numbers do."""
    if not _is_mutable(node):
        return False
    first = node.args[0] if node.args else None
    fresh = isinstance(first, fx.Node) and first.target in UNFILLED and len(first.users) == 1
    return not fresh or torch.Tag.nondeterministic_seeded not in _tags(node)
