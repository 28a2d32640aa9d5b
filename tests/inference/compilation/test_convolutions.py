"""Rewrites of convolutions change how they are computed and not what: the rewritten graph against the function."""

import functools

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d

from ppl_vae.inference.compilation import convolutions, inductor
from ppl_vae.inference.compilation.step_graph import trace
from tests.inference.compilation import graphs
from tests.inference.compilation.graphs import count, rewritten

aten = torch.ops.aten
FUSED = torch.ops.mkldnn._convolution_pointwise.default
FUSED_TRANSPOSED = convolutions.transposed_pointwise

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN")


normal = functools.partial(graphs.normal, dtype=torch.float32)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def agree(program, function, *inputs):
    found, wanted = program(*inputs), function(*inputs)
    for ours, theirs in zip(*(v if isinstance(v, tuple) else (v,) for v in (found, wanted)), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


X = normal(5, 6, 7, 8)


@pytest.mark.parametrize(
    ("function", "weight", "target"),
    [
        (lambda x, w, b: conv2d(x, w, b, stride=2, padding=1).relu(), normal(4, 6, 3, 3, seed=1), FUSED),
        (lambda x, w, b: conv2d(x, w, b, dilation=2).relu(), normal(4, 6, 3, 2, seed=1), FUSED),
        (
            lambda x, w, b: conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1).relu(),
            normal(6, 4, 3, 3, seed=1),
            FUSED_TRANSPOSED,
        ),
        (
            lambda x, w, b: conv_transpose2d(x, w, b, stride=2).relu(),
            normal(6, 4, 3, 2, seed=1),
            FUSED_TRANSPOSED,
        ),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_a_relu_is_part_of_the_convolution_that_it_follows(function, weight, target, last):
    given = (channels_last(X), channels_last(weight)) if last else (X, weight)
    program = rewritten(function, *given, normal(4, seed=2))
    assert count(program, target) == 1
    assert count(program, aten.relu.default) == count(program, aten.convolution.default) == 0
    agree(program, function, *given, normal(4, seed=2))


def test_a_convolution_that_is_read_besides_its_relu_stays():
    def function(x, w):
        y = conv2d(x, w)
        return y.relu(), y.exp()

    program = rewritten(function, X, normal(4, 6, 3, 3, seed=1))
    assert count(program, aten.convolution.default) == count(program, aten.relu.default) == 1


@pytest.mark.parametrize("transposed", [True, False])
def test_gradients_are_the_same_with_the_bias_s_summed_apart(transposed):
    weight = normal(6, 4, 3, 3, seed=1) if transposed else normal(4, 6, 3, 3, seed=1)

    def gradients(x, weight, bias):
        x, weight, bias = (tensor.detach().requires_grad_() for tensor in (x, weight, bias))
        convolution = conv_transpose2d if transposed else conv2d
        y = convolution(x, weight, bias, stride=2, padding=1).relu().square().sum()
        return torch.autograd.grad(y, (x, weight, bias))

    given = X, weight, normal(4, seed=2)
    program = rewritten(gradients, *given)
    (backward,) = (node for node in program.graph.nodes if node.target is aten.convolution_backward.default)
    assert backward.args[-1] == [True, True, False]
    found, wanted = program(*given), gradients(*given)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_fused_convolutions_may_follow_each_other():
    """Encoder and decoder of the published pair's kind, forward and backward."""
    weights = [
        normal(8, 6, 3, 3, seed=1),
        normal(4, 8, 3, 3, seed=2),
        normal(4, 8, 3, 3, seed=3),
        normal(8, 6, 3, 3, seed=4),
    ]

    def gradients(x, *weights):
        first, second, third, fourth = (weight.detach().requires_grad_() for weight in weights)
        codes = conv2d(conv2d(x, first, padding=1).relu(), second, padding=1).relu()
        y = conv_transpose2d(conv_transpose2d(codes, third, padding=1).relu(), fourth, padding=1).relu()
        return y, *torch.autograd.grad(y.square().mean(), (first, second, third, fourth))

    program = rewritten(gradients, X, *weights)
    assert count(program, FUSED) == count(program, FUSED_TRANSPOSED) == 2
    agree(program, gradients, X, *weights)


@pytest.mark.slow
@pytest.mark.skipif(inductor.missing_compiler() is not None, reason="no C++ compiler")
def test_machine_code_calls_the_kernel_by_its_c_function(monkeypatch):
    """To find it by name the compiler would read the headers of torch's dispatcher, for five seconds."""
    sources = []
    is_whole = inductor._is_whole

    def watched(program, code, entry):
        sources.append(entry[0])
        return is_whole(program, code, entry)

    monkeypatch.setattr(inductor, "_is_whole", watched)

    def function(x, weight, bias):
        return (conv_transpose2d(x, weight, bias, stride=2).relu(),)

    inputs = [X, normal(6, 4, 3, 3, seed=1), normal(4, seed=2)]
    agree(lambda *given: tuple(inductor.compiled(trace(function, inputs, []))(list(given))), function, *inputs)
    (source,) = sources
    assert "aoti_torch_cpu_mkldnn__convolution_transpose_pointwise(" in source
    assert "Dispatcher" not in source
