"""Rewrites of a step's convolutions for the CPU: what oneDNN does badly there, and what it can do at once.

Measured on two cores for the published pair (28x28, 32 and 64 channels, batch 32): of a step of 11.5 ms activations
in a pass of their own take 0.5, the gradients of biases, summed inside of the backward convolutions, another 0.6.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx

from ppl_vae.inference.compilation.nodes import call

aten = torch.ops.aten
# torch has the kernel, but takes it to be called with weights in oneDNN's own layout when it works out shapes. By
# torch's name in a library of ours, Inductor calls the C function of that name: to look an operation up by its name
# the compiler would read the headers of torch's dispatcher, which takes five seconds.
TRANSPOSED = "mkldnn__convolution_transpose_pointwise"
_library = torch.library.Library("ppl_vae", "DEF")
_library.define(
    f"{TRANSPOSED}(Tensor x, Tensor weight, Tensor? bias, int[] padding, int[] output_padding, int[] stride, "
    "int[] dilation, int groups, str attr, Scalar?[] scalars, str? algorithm) -> Tensor"
)
transposed_pointwise = getattr(torch.ops.ppl_vae, TRANSPOSED).default
# How Inductor's C++ is told of torch's C functions that compute operations of this library.
C_FUNCTIONS = {
    transposed_pointwise: [
        f"AOTITorchError aoti_torch_cpu_{TRANSPOSED}(AtenTensorHandle, AtenTensorHandle, AtenTensorHandle*, "
        "const int64_t*, int64_t, const int64_t*, int64_t, const int64_t*, int64_t, const int64_t*, int64_t, "
        "int64_t, const char*, const double**, int64_t, const char**, AtenTensorHandle*)"
    ]
}


@torch.library.impl(_library, TRANSPOSED, "CPU")
def _by_torch(*arguments: Any) -> Tensor:
    y: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise.default(*arguments)
    return y


@torch.library.register_fake(f"ppl_vae::{TRANSPOSED}", lib=_library)
def _its_shape(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: list[int],
    output_padding: list[int],
    stride: list[int],
    dilation: list[int],
    groups: int,
    *activation: object,
) -> Tensor:
    return aten.convolution.default(x, weight, bias, stride, padding, dilation, True, output_padding, groups)


def rewrite_convolutions(graph: fx.Graph) -> None:
    """Apply every rewrite in place."""
    if not torch.backends.mkldnn.is_available():
        return
    part_bias_gradients(graph)
    fuse_activations(graph)


def part_bias_gradients(graph: fx.Graph) -> None:
    """Sum a bias's gradient in an operation of its own."""
    for node, (grad, *others, mask) in _calls(graph, aten.convolution_backward.default):
        if not mask[2]:
            continue
        with graph.inserting_after(grad):
            total = call(graph, aten.sum.dim_IntList, grad, [0, *range(2, grad.meta["val"].dim())])
        for part in [user for user in node.users if user.target is operator.getitem and user.args[1] == 2]:
            part.replace_all_uses_with(total)
            graph.erase_node(part)
        node.args = (grad, *others, [*mask[:2], False])


def fuse_activations(graph: fx.Graph) -> None:
    """Fuse a convolution with the ReLU that alone reads it into one pass."""
    for node, arguments in _calls(graph, aten.convolution.default):
        x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = arguments
        readers = list(node.users)
        if [reader.target for reader in readers] != [aten.relu.default] or weight.meta["val"].dim() != 4:
            continue
        if transposed:
            kernel = transposed_pointwise
            sizes = [padding, output_padding, stride, dilation, groups]
        else:
            kernel = torch.ops.mkldnn._convolution_pointwise.default
            sizes = [padding, stride, dilation, groups]
        with graph.inserting_before(node):
            # Not by ``call``: oneDNN's own shape function may tell another layout than the convolution's.
            fused = graph.call_function(kernel, (x, weight, bias, *sizes, "relu", [], ""))
        fused.meta["val"] = node.meta["val"]
        readers[0].replace_all_uses_with(fused)
        graph.erase_node(readers[0])
        graph.erase_node(node)


def _calls(graph: fx.Graph, target: Callable[..., object]) -> Iterator[tuple[fx.Node, tuple[Any, ...]]]:
    """The calls of an operation on the CPU in single precision, with their present arguments."""
    for node in [node for node in graph.nodes if node.target is target]:
        x = node.args[0].meta["val"]
        if x.device.type == "cpu" and x.dtype is torch.float32:
            yield node, node.args
