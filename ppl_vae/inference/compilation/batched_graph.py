"""The steps of several members of one architecture as one graph: torch.func.vmap over stacked tensors.

The step of one member is traced (``step_graph``), its draws are made inputs, and the rest is mapped over a leading
dimension of members. So each member draws from a generator of its own, in the order in which its single fit draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ppl_vae.inference.compilation.members import ApartError
from ppl_vae.inference.compilation.step_graph import StepGraph

aten = torch.ops.aten
# Draws into a tensor of their own, by operation: what is called with it and a generator.
FILLED: dict[object, Callable[..., Tensor]] = {
    aten.normal_.default: aten.normal_.default,
    aten.uniform_.default: aten.uniform_.default,
    aten.exponential_.default: aten.exponential_.default,
    aten.bernoulli_.float: aten.bernoulli_.float,
}
MADE = {
    aten.randn.default: aten.normal_.default,
    aten.randn_like.default: aten.normal_.default,
    aten.rand.default: aten.uniform_.default,
    aten.rand_like.default: aten.uniform_.default,
    aten.normal.Tensor_Tensor: aten.normal_.default,
}


@dataclass(frozen=True)
class Draw:
    """One draw of a step.

    Attributes:
        fill: fills a tensor from a generator.
        numbers: further arguments of it, such as mean and standard deviation.
        like: a tensor of the draw's shape and type.
    """

    fill: Callable[..., Tensor]
    numbers: tuple[Any, ...]
    like: Tensor

    def into(self, tensor: Tensor, generator: torch.Generator) -> None:
        """Draw into a tensor of this shape."""
        self.fill(tensor, *self.numbers, generator=generator)


def lift_draws(graph: StepGraph) -> tuple[fx.GraphModule, list[Draw]]:
    """A copy of the graph whose draws are its last inputs, and what they are, in their order.

    Raises:
        ApartError: a draw is no draw of its own apart from what is computed, as that of a Gamma; it is named.
    """
    program = fx.GraphModule(graph.program, fx.Graph())
    copied: dict[fx.Node, fx.Node] = {}
    program.graph.graph_copy(graph.program.graph, copied)
    output = graph.program.graph.output_node()
    program.graph.output(fx.map_arg(output.args[0], lambda node: copied[node]))
    program.graph.set_codegen(fx.graph.CodeGen())
    draws = []
    last = [node for node in program.graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in program.graph.nodes if _is_random(node)]:
        draws.append(_draw(node))
        with program.graph.inserting_after(last):
            last = drawn = program.graph.placeholder(f"draw_{len(draws)}")
        if node.target is aten.normal.Tensor_Tensor:
            # As the operation does it, on numbers that are drawn apart.
            mean, spread = node.args[:2]
            with program.graph.inserting_before(node):
                scaled = program.graph.call_function(aten.mul.Tensor, (last, spread))
                drawn = program.graph.call_function(aten.add.Tensor, (scaled, mean))
        node.replace_all_uses_with(drawn)
        program.graph.erase_node(node)
    program.recompile()
    return program, draws


def _is_random(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


def _draw(node: fx.Node) -> Draw:
    value, target = node.meta["val"], node.target
    numbers = tuple(node.args[1:])
    if target in FILLED and not any(isinstance(each, fx.Node) for each in numbers) and _is_fresh(node.args[0]):
        return Draw(FILLED[target], numbers, _like(value))
    if target in MADE:
        return Draw(MADE[target], (), _like(value))
    raise ApartError(
        f"several members cannot be trained together: they draw by {target}, whose numbers cannot be drawn apart "
        "from what is computed; fit them one by one"
    )


def _is_fresh(argument: object) -> bool:
    """Tell whether a tensor was made for the draw alone."""
    return isinstance(argument, fx.Node) and len(argument.users) == 1 and "empty" in str(argument.target)


def _like(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype)


def present_outputs(program: fx.GraphModule) -> list[bool]:
    """Tell which outputs of a graph are tensors, and not None."""
    values = program.graph.output_node().args[0]
    assert isinstance(values, tuple | list)
    return [value is not None for value in values]


def batched(
    program: fx.GraphModule, inputs: Sequence[Tensor], stacked: Sequence[bool], num_given: int
) -> StepGraph:
    """The graph for all members.

    Args:
        program: of one member; of a gradient that is None there is no output.
        inputs: for all of them, [M, ...] where ``stacked``.
        stacked: which inputs differ between members.
        num_given: how many of the first ones differ from step to step.

    Raises:
        RuntimeError: torch cannot map an operation of the graph.
    """
    # To load it loads torch's compiler, which one fit at a time does without.
    from torch.fx.experimental.proxy_tensor import make_fx

    dims = tuple(0 if each else None for each in stacked)

    def present(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(value for value in program(*given) if value is not None)

    mapped = torch.func.vmap(present, in_dims=dims)
    with torch.no_grad():
        many = make_fx(mapped, tracing_mode="real")(*inputs)
    many.graph.set_codegen(fx.graph.CodeGen())
    many.recompile()
    return StepGraph(many, list(inputs), num_given)
