"""The rewrite of binary cross entropy with fewer exponentials.

torch's ``binary_cross_entropy_with_logits`` has m = max(-x, 0) for logits x, so that one of its two exponentials
is 1; its gradient has a third. With z = exp(-|x|) they are

    log(exp(-m) + exp(-x - m)) = log(1 + z)          sigmoid(x) = (1 if x >= 0 else z) / (1 + z)

and where the compiler computes value and gradient in one loop, as of a training step, it takes z once.
"""

from __future__ import annotations

import torch
from torch import fx

from ppl_vae.inference.compilation.nodes import call

aten = torch.ops.aten


def simplify_cross_entropy(graph: fx.Graph) -> None:
    """The logarithm and every sigmoid of its logits by z; a sigmoid may differ from torch's in its last place."""
    for node in [node for node in graph.nodes if node.target is aten.log.default]:
        x = _logits(node.args[0])
        if x is None:
            continue
        with graph.inserting_before(node):
            node.replace_all_uses_with(call(graph, aten.log.default, _plus_one(graph, _exp_of_minus_abs(graph, x))))
        for user in [user for user in x.users if user.target is aten.sigmoid.default]:
            with graph.inserting_before(user):
                user.replace_all_uses_with(_sigmoid(graph, x))


def _exp_of_minus_abs(graph: fx.Graph, x: fx.Node) -> fx.Node:
    """z, written anew for each reader: the compiler would store one with two readers, and read it from there."""
    return call(graph, aten.exp.default, call(graph, aten.neg.default, call(graph, aten.abs.default, x)))


def _plus_one(graph: fx.Graph, z: fx.Node) -> fx.Node:
    return call(graph, aten.add.Tensor, z, 1.0)


def _sigmoid(graph: fx.Graph, x: fx.Node) -> fx.Node:
    value, z = x.meta["val"], _exp_of_minus_abs(graph, x)
    one = call(graph, aten.full.default, [], 1.0, dtype=value.dtype, device=value.device)
    numerator = call(graph, aten.where.self, call(graph, aten.ge.Scalar, x, 0.0), one, z)
    return call(graph, aten.div.Tensor, numerator, _plus_one(graph, z))


def _logits(total: object) -> fx.Node | None:
    """x of exp(-m) + exp(-x - m) with m = max(-x, 0), else None."""
    match total:
        case (
            fx.Node(
                target=aten.add.Tensor,
                args=(
                    fx.Node(target=aten.exp.default, args=(fx.Node(target=aten.neg.default, args=(m,)),)),
                    fx.Node(
                        target=aten.exp.default,
                        args=(fx.Node(target=aten.sub.Tensor, args=(negative, n)) as difference,),
                    ),
                ),
            ) as addition
        ) if m is n and not addition.kwargs and not difference.kwargs:
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
