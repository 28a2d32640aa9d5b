"""Nodes of a graph that carry the shape of their value, as every rewrite needs and keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx


def call(graph: fx.Graph, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
    """A call where the graph inserts just now, with what it gives on the arguments' own ``meta["val"]``."""
    node = graph.call_function(target, args, kwargs)
    values = fx.node.map_arg((args, kwargs), lambda argument: argument.meta["val"])
    node.meta["val"] = target(*values[0], **values[1])
    return node
