"""The rewrite of binary cross entropy: one exponential for its value and its gradient in place of three.

torch's ``binary_cross_entropy_with_logits`` has m = max(-x, 0) for logits x, so that one of two exponentials is 1:

    log(exp(-m) + exp(-x - m)) = log(1 + z),   sigmoid(x) = (1 if x >= 0 else z) / (1 + z),   z = exp(-|x|)
"""

from __future__ import annotations

import torch
from torch import fx

from ppl_vae.inference.captured.nodes import call

aten = torch.ops.aten


def share_exponentials(graph: fx.Graph) -> None:
    """Both as on the right, wherever the logarithm stands."""
    for node in [node for node in graph.nodes if node.target is aten.log.default]:
        x = _logits(node.args[0])
        if x is None:
            continue
        with graph.inserting_before(node):
            node.replace_all_uses_with(call(graph, aten.log.default, _one_more(graph, _smaller(graph, x))))
        for user in [user for user in x.users if user.target is aten.sigmoid.default]:
            with graph.inserting_before(user):
                user.replace_all_uses_with(_sigmoid(graph, x))


def _smaller(graph: fx.Graph, x: fx.Node) -> fx.Node:
    """exp(-|x|), written anew for each reader: one with two readers would be stored, and read from there."""
    return call(graph, aten.exp.default, call(graph, aten.neg.default, call(graph, aten.abs.default, x)))


def _one_more(graph: fx.Graph, z: fx.Node) -> fx.Node:
    return call(graph, aten.add.Tensor, z, 1.0)


def _sigmoid(graph: fx.Graph, x: fx.Node) -> fx.Node:
    value, z = x.meta["val"], _smaller(graph, x)
    one = call(graph, aten.full.default, [], 1.0, dtype=value.dtype, device=value.device)
    numerator = call(graph, aten.where.self, call(graph, aten.ge.Scalar, x, 0.0), one, z)
    return call(graph, aten.div.Tensor, numerator, _one_more(graph, z))


def _logits(total: object) -> fx.Node | None:
    """x of exp(-m) + exp(-x - m) with m = max(-x, 0), else None."""
    match total:
        case fx.Node(
            target=aten.add.Tensor,
            args=(
                fx.Node(target=aten.exp.default, args=(fx.Node(target=aten.neg.default, args=(m,)),)),
                fx.Node(target=aten.exp.default, args=(fx.Node(target=aten.sub.Tensor, args=(negative, same_m)),)),
            ),
        ) if m is same_m:
            pass
        case _:
            return None
    match m, negative:
        case (
            fx.Node(
                target=aten.clamp_min.default, args=(fx.Node(target=aten.neg.default, args=(fx.Node() as x,)), 0)
            ),
            fx.Node(target=aten.neg.default, args=(same_x,)),
        ) if x is same_x:
            return x
    return None
