"""New nodes of a graph with what they give in ``meta["val"]``, where rewrites read shapes and layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx


def call(graph: fx.Graph, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
    """A call where the graph inserts just now; what makes tensors of nothing needs the graph's fake mode around."""
    node = graph.call_function(target, args, kwargs)
    values = fx.node.map_arg((args, kwargs), lambda argument: argument.meta["val"])
    node.meta["val"] = target(*values[0], **values[1])
    return node


def stored(graph: fx.Graph, node: fx.Node, stride: Sequence[int]) -> fx.Node:
    """A node's value in memory with that stride, which no reader computes anew."""
    # Loading the compiler takes seconds, which who does not compile should not pay at import.
    from torch._inductor.inductor_prims import force_stride_order

    return call(graph, force_stride_order, node, list(stride))
