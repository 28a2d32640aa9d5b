"""Rewrites of matrix products: small ones are joined, large ones arranged for two threads.

The graph is functional, and every node's ``meta["val"]`` tells its shape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from ppl_vae.inference.compilation.nodes import call, stored

aten = torch.ops.aten
# Operands that are copied side by side for one product in place of two may have so many elements at most: of larger
# ones the copy costs more than the call of a second product.
LARGEST_COPY = 1 << 16
# A product of fewer multiplications is as fast either way.
SMALLEST_TURNED = 1 << 22


def rewrite_products(graph: fx.Graph) -> None:
    """Apply every rewrite in place."""
    merge_sums(graph)
    graph.eliminate_dead_code()
    merge_products(graph, shared=0)
    merge_products(graph, shared=1)
    turn_products(graph)


def merge_products(graph: fx.Graph, shared: int) -> None:
    """Products of one matrix with several small ones, as the two heads of a posterior make them, as one product.

    Args:
        graph: of the step.
        shared: which operand they share, 0 the left or 1 the right one.
    """
    groups: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.target is aten.mm.default:
            groups[_operand(node, shared)].append(node)
    for products in groups.values():
        # Read anew: an operand may be a product that was merged with others meanwhile.
        operand, others = _operand(products[0], shared), [_operand(node, 1 - shared) for node in products]
        if len(products) > 1 and _size(others) <= LARGEST_COPY and _ready_before_use([operand, *others], products):
            _merge(graph, products, operand, others, shared)


def merge_sums(graph: fx.Graph) -> None:
    """The sum of two small products, a c + b d, as one: [a b] [c; d]."""
    for node in [node for node in graph.nodes if node.target is aten.add.Tensor and not node.kwargs]:
        if any(not _is_product_for_one(part) for part in node.args) or node.args[0] is node.args[1]:
            continue
        if any(part.meta["val"].shape != node.meta["val"].shape for part in node.args):
            continue
        left, right = ([_operand(part, side) for part in node.args] for side in (0, 1))
        if _size([*left, *right]) > LARGEST_COPY:
            continue
        total = _after_all(graph, aten.mm.default, (_side_by_side(graph, left, 1), _side_by_side(graph, right, 0)))
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def turn_products(graph: fx.Graph) -> None:
    """Turn a product a b of few rows with many columns into (b' a')', on the CPU.

    The library gives each thread some rows of a result. Of a batch times weights that is a part of the batch: every
    thread reads all weights, which Adam then writes by parts, and much is fetched from the other core's cache.
    Turned, a layer's forward product reads a part of the weights in the thread that updates it. Measured for the
    784-400-20 pair at batch 128 on two cores: about 1.05 times as many images a second, 1.2 times while the cores
    share no cache.
    """
    for node in [node for node in graph.nodes if node.target is aten.mm.default]:
        left, right = (_operand(node, side) for side in (0, 1))
        if _is_worth_turning(node.meta["val"], left.meta["val"]):
            with graph.inserting_before(node):
                transposes = (call(graph, aten.permute.default, part, [1, 0]) for part in (right, left))
                turned = call(graph, aten.mm.default, *transposes)
                back = call(graph, aten.permute.default, turned, [1, 0])
                # What reads it would loop over columns otherwise, and read everything else by columns too.
                by_rows = stored(graph, back, [node.meta["val"].shape[1], 1])
            node.replace_all_uses_with(by_rows)
            graph.erase_node(node)


def _is_worth_turning(result: torch.Tensor, left: torch.Tensor) -> bool:
    """Tell a large product of a batch from the gradient of weights, which has a transposed batch on its left."""
    (rows, columns), inner = result.shape, left.shape[1]
    large = rows * inner * columns >= SMALLEST_TURNED
    return result.device.type == "cpu" and large and rows < columns and left.is_contiguous() and inner > 1


def _merge(
    graph: fx.Graph, products: Sequence[fx.Node], operand: fx.Node, others: Sequence[fx.Node], shared: int
) -> None:
    dim = 1 - shared
    joined = _side_by_side(graph, others, dim)
    product = _after_all(graph, aten.mm.default, (joined, operand) if shared else (operand, joined))
    start = 0
    for node in products:
        stop = start + node.meta["val"].shape[dim]
        part = _after_all(graph, aten.slice.Tensor, (product, dim, start, stop))
        node.replace_all_uses_with(part)
        graph.erase_node(node)
        for view in reversed(_transposed(part)):
            part.append(view)
        start = stop


def _side_by_side(graph: fx.Graph, nodes: Sequence[fx.Node], dim: int) -> fx.Node:
    """The matrices joined along a dimension; transposed ones are joined before they are transposed."""
    if all(map(_is_transpose, nodes)):
        inner = _side_by_side(graph, [_operand(node, 0) for node in nodes], 1 - dim)
        return _after_all(graph, aten.permute.default, (inner, [1, 0]))
    return _after_all(graph, aten.cat.default, (list(nodes), dim))


def _after_all(graph: fx.Graph, target: Callable[..., torch.Tensor], args: tuple[Any, ...]) -> fx.Node:
    """Insert a call as soon as its arguments exist; an identical earlier call is used again."""
    given: list[fx.Node] = []
    fx.node.map_arg(args, given.append)
    for node in given[0].users:
        if node.target is target and node.args == args:
            return node
    place = _order(graph)
    last = max(given, key=place.__getitem__)
    if last.op == "placeholder":
        last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    with graph.inserting_after(last):
        return call(graph, target, *args)


def _ready_before_use(operands: Sequence[fx.Node], products: Sequence[fx.Node]) -> bool:
    """Tell whether all operands, the shared one first, exist before the first of the products is read."""
    place = _order(products[0].graph)
    (shared, *others), joined_inside = operands, all(map(_is_transpose, operands[1:]))
    sources = [_operand(node, 0) for node in others] if joined_inside else others
    ready = max(place[node] for node in [shared, *sources])
    views = {product: _transposed(product) for product in products}
    readers = {user for product in products for node in (product, *views[product]) for user in node.users}
    waits = any(source in products for source in sources)
    return not waits and all(place[reader] > ready for reader in readers.difference(*views.values()))


def _transposed(node: fx.Node) -> list[fx.Node]:
    """Transposes of a node and of those, each after what it is made from."""
    found: list[fx.Node] = []
    for user in node.users:
        if user.target is aten.permute.default:
            found += [user, *_transposed(user)]
    return found


def _is_transpose(node: fx.Node) -> bool:
    return node.target is aten.permute.default and node.args[1] in ([1, 0], [-1, -2], [1, -2], [-1, 0])


def _operand(node: fx.Node, index: int) -> fx.Node:
    operand = node.args[index]
    assert isinstance(operand, fx.Node)
    return operand


def _is_product_for_one(node: object) -> bool:
    return isinstance(node, fx.Node) and node.target is aten.mm.default and len(node.users) == 1


def _size(nodes: Sequence[fx.Node]) -> int:
    return sum(node.meta["val"].numel() for node in nodes)


def _order(graph: fx.Graph) -> dict[fx.Node, int]:
    return {node: index for index, node in enumerate(graph.nodes)}
