"""Rewrites of a step's graph that no compiler of torch does, each for what it was measured to save on a small step.

The graph is functional: nothing in it changes a tensor in place. Every node's ``meta["val"]`` tells its shape.
"""

from __future__ import annotations

import torch
from torch import fx

from ppl_vae.inference.compilation.convolutions import rewrite_convolutions
from ppl_vae.inference.compilation.cross_entropy import simplify_cross_entropy
from ppl_vae.inference.compilation.nodes import call, stored
from ppl_vae.inference.compilation.products import rewrite_products

aten = torch.ops.aten


def rewrite(graph: fx.Graph) -> None:
    """Apply every rewrite in place."""
    rewrite_convolutions(graph)
    part_biases(graph)
    draw_at_once(graph)
    gather_once(graph)
    simplify_cross_entropy(graph)
    rewrite_products(graph)
    graph.eliminate_dead_code()


def draw_at_once(graph: fx.Graph) -> None:
    """Draw standard normals in one operation, not into a copy of an empty tensor."""
    for node in [node for node in graph.nodes if node.target is aten.normal_functional.default]:
        like = node.args[0]
        if (
            node.args[1:] in ((), (0.0, 1.0))
            and like.target is aten.empty.memory_format
            and like.meta["val"].is_contiguous()
        ):
            value = node.meta["val"]
            with graph.inserting_before(node):
                options = {"dtype": value.dtype, "device": value.device, "pin_memory": False}
                drawn = call(graph, aten.randn.default, list(value.shape), **options)
            node.replace_all_uses_with(drawn)
            graph.erase_node(node)


def part_biases(graph: fx.Graph) -> None:
    """Add a bias after its product, where it fuses with the activation, and is not copied for the product first."""
    for node in [node for node in graph.nodes if node.target is aten.addmm.default and not node.kwargs]:
        bias, left, right = node.args
        with graph.inserting_before(node):
            total = call(graph, aten.add.Tensor, call(graph, aten.mm.default, left, right), bias)
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def gather_once(graph: fx.Graph) -> None:
    """Store the rows of a batch on the CPU: the compiler would have each reader gather them anew."""
    for node in [node for node in graph.nodes if node.target is aten.index.Tensor]:
        if node.meta["val"].device.type == "cpu":
            readers = list(node.users)
            with graph.inserting_after(node):
                rows = stored(graph, node, node.meta["val"].stride())
            for reader in readers:
                reader.replace_input_with(node, rows)
