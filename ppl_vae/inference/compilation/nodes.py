"""New nodes of a graph with what they give in ``meta["val"]``, where rewrites read shapes and layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx


def call(graph: fx.Graph, target: Callable[..., object], *args: Any, **kwargs: Any) -> fx.Node:
    """Insert a call at the graph's present place; operations that create tensors need the graph's fake mode."""
    node = graph.call_function(target, args, kwargs)
    values = fx.node.map_arg((args, kwargs), lambda argument: argument.meta["val"])
    node.meta["val"] = target(*values[0], **values[1])
    return node


def stored(graph: fx.Graph, node: fx.Node, stride: Sequence[int]) -> fx.Node:
    """Store a node's value in memory with that stride, so that no reader computes it anew."""
    # Loading the compiler takes seconds, which who does not compile should not pay at import.
    from torch._inductor.inductor_prims import force_stride_order

    return call(graph, force_stride_order, node, list(stride))
