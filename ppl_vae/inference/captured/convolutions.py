"""Rewrites of a step's convolutions for the CPU: what oneDNN does badly there, and what it can do at once.

Measured on two cores for the published pair (28x28, 32 and 64 channels, batch 32), milliseconds of a step of 10.5:
a transposed convolution into one channel 1.1, which as a product takes 0.2; activations by a pass of their own 0.8;
the sums that are the gradients of biases, taken inside of the backward convolutions, 0.7.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

aten = torch.ops.aten
# torch has the kernel, but takes it to be called with weights in oneDNN's own layout when it works out shapes.
_library = torch.library.Library("ppl_vae", "DEF")
_library.define(
    "transposed_convolution_relu(Tensor x, Tensor weight, Tensor? bias, int[] padding, int[] output_padding, "
    "int[] stride, int[] dilation, int groups) -> Tensor"
)


@torch.library.impl(_library, "transposed_convolution_relu", "CPU")
def _transposed_convolution_relu(x: Tensor, weight: Tensor, bias: Tensor | None, *sizes: Any) -> Tensor:
    kernel = torch.ops.mkldnn._convolution_transpose_pointwise.default
    return kernel(x, weight, bias, *sizes, "relu", [], "")


@torch.library.register_fake("ppl_vae::transposed_convolution_relu", lib=_library)
def _its_shape(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: list[int],
    output_padding: list[int],
    stride: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    return aten.convolution.default(x, weight, bias, stride, padding, dilation, True, output_padding, groups)


# oneDNN fills up the channels of an output to sixteen; up to so many columns a product is the faster way.
MOST_COLUMNS = 32


def rewrite_convolutions(graph: fx.Graph) -> None:
    """Every rewrite, in place."""
    if not torch.backends.mkldnn.is_available():
        return
    part_bias_gradients(graph)
    multiply_into_few_channels(graph)
    fuse_activations(graph)


def part_bias_gradients(graph: fx.Graph) -> None:
    """Sum a bias's gradient in an operation of its own."""
    for node in _calls(graph, aten.convolution_backward.default):
        grad, *others, mask = _arguments(node)
        if not mask[2]:
            continue
        with graph.inserting_after(grad):
            total = graph.call_function(aten.sum.dim_IntList, (grad, [0, *range(2, grad.meta["val"].dim())]))
        total.meta["val"] = node.meta["val"][2]
        for part in [user for user in node.users if user.target is operator.getitem and user.args[1] == 2]:
            part.replace_all_uses_with(total)
            graph.erase_node(part)
        node.args = (grad, *others, [*mask[:2], False])


def multiply_into_few_channels(graph: fx.Graph) -> None:
    """A transposed convolution of stride one into few channels: one product, and a sum of its shifted columns."""
    for node in _calls(graph, aten.convolution.default):
        x, weight, bias, stride, padding, dilation, transposed, _, groups = _arguments(node)
        kernel = weight.meta["val"].shape
        margins = [d * (k - 1) - p for d, k, p in zip(dilation, kernel[2:], padding, strict=True)]
        few = len(kernel) == 4 and kernel[1:].numel() <= MOST_COLUMNS
        if not (transposed and few and set(stride) == {1} and groups == 1 and min(margins) >= 0):
            continue
        product = functools.partial(_shifted_products, margins=margins, dilation=dilation)
        given = [x, weight] if bias is None else [x, weight, bias]
        node.replace_all_uses_with(_in_place_of(node, product, given))
        graph.erase_node(node)


def _shifted_products(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, margins: list[int], dilation: list[int]
) -> Tensor:
    """The transposed convolution of x [N, I, H, W] with weight [I, O, A, B]: [N, O, H', W'].

    Args:
        x: what is convolved.
        weight: the kernel.
        bias: [O], or None.
        margins: how far the kernel reaches beyond x, down and across, less the padding.
        dilation: of the kernel, down and across.
    """
    (n, inputs, height, width), (_, outputs, rows, columns) = x.shape, weight.shape
    products = x.permute(0, 2, 3, 1).reshape(-1, inputs) @ weight.reshape(inputs, -1)
    products = products.view(n, height, width, outputs, rows, columns)
    down, across = margins
    padded = torch.nn.functional.pad(products, (0, 0, 0, 0, 0, 0, across, across, down, down))
    new_height, new_width = (
        size + 2 * margin - d * (k - 1)
        for size, margin, d, k in zip((height, width), margins, dilation, (rows, columns), strict=True)
    )
    total: Any = 0 if bias is None else bias
    for a in range(rows):
        for b in range(columns):
            top, left = dilation[0] * (rows - 1 - a), dilation[1] * (columns - 1 - b)
            total = total + padded[:, top : top + new_height, left : left + new_width, :, a, b]
    return total.permute(0, 3, 1, 2)


def fuse_activations(graph: fx.Graph) -> None:
    """A convolution and the ReLU that alone reads it, in one pass."""
    for node in _calls(graph, aten.convolution.default):
        x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = _arguments(node)
        readers = list(node.users)
        if [reader.target for reader in readers] != [aten.relu.default] or weight.meta["val"].dim() != 4:
            continue
        if transposed:
            fused = torch.ops.ppl_vae.transposed_convolution_relu.default
            rest = [padding, output_padding, stride, dilation, groups]
        else:
            fused = torch.ops.mkldnn._convolution_pointwise.default
            rest = [padding, stride, dilation, groups, "relu", [], ""]
        with graph.inserting_before(node):
            call = graph.call_function(fused, (x, weight, bias, *rest))
        call.meta["val"] = node.meta["val"]
        readers[0].replace_all_uses_with(call)
        graph.erase_node(readers[0])
        graph.erase_node(node)


def _calls(graph: fx.Graph, target: Callable[..., Any]) -> list[fx.Node]:
    """The calls of an operation on the CPU in single precision."""

    def fits(x: Tensor) -> bool:
        return x.device.type == "cpu" and x.dtype is torch.float32

    return [node for node in graph.nodes if node.target is target and fits(_arguments(node)[0].meta["val"])]


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    return node.args


def _in_place_of(node: fx.Node, function: Callable[..., Tensor], given: list[fx.Node]) -> fx.Node:
    """Put what ``function`` does to the given nodes before a node; its result."""
    program = make_fx(function)(*(argument.meta["val"] for argument in given))
    places = [inner for inner in program.graph.nodes if inner.op == "placeholder"]
    with node.graph.inserting_before(node):
        result = node.graph.graph_copy(program.graph, dict(zip(places, given, strict=True)))
    assert isinstance(result, fx.Node)
    return result
