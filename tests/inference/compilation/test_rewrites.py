"""Rewrites of a step's graph change how it is computed and not what: the rewritten graph against the function."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch._inductor.inductor_prims import force_stride_order

import ppl_vae as pv
from ppl_vae.inference.compilation import inductor, products
from ppl_vae.inference.compilation.step_graph import _changes_last
from tests.inference.compilation.graphs import count, normal, rewritten

aten = torch.ops.aten


X, V, W, SQUARE = normal(7, 3), normal(3, 4, seed=1), normal(3, 4, seed=2), normal(3, 3, seed=3)
NARROW, WIDE, ROW = normal(3, 1, seed=4), normal(3, 5, seed=5), normal(1, 3, seed=6)

# What is computed, and how many products are left of it.
FUNCTIONS = {
    "two heads": (lambda x, v, w: (x @ v).tanh() + (x @ w).exp(), (X, V, W), 1),
    "their gradient": (lambda x, t, v, w: (t @ (x @ v).tanh(), t @ (x @ w).exp()), (X, X.mT, V, W), 2),
    "a sum of products": (lambda x, y, v, w: x @ v + y @ w, (X, X + 1, V, W), 1),
    "layers with a bias": (lambda x, v, b: torch.addmm(b, x, v).tanh(), (X, V, normal(4)), 1),
    "products of products": (
        lambda x, v, w, a, b: ((x @ v) @ a, (x @ v + 0) @ b, (x @ w).exp()),
        (X, V, W, normal(4, 2, seed=7), normal(4, 3, seed=8)),
        None,
    ),
    "a product that stands in two groups": (
        lambda x, v, w, a, b: (lambda h: ((h @ a).tanh(), (h @ b).tanh(), (x @ w).tanh()))(x @ v),
        (X, V, W, normal(4, 2, seed=7), normal(4, 3, seed=8)),
        2,
    ),
    "a sum that broadcasts columns": (lambda x, n, w: x @ n + x.cos() @ w, (X, NARROW, WIDE), 2),
    "a sum that broadcasts rows": (lambda r, x, v, w: r @ v + x @ w, (ROW, X, V, W), 2),
    "a transpose that comes after a reader": (
        lambda x, s, v: (lambda h: (h.sum(), x @ s.mT))((x @ v).tanh()),
        (X, SQUARE, V),
        2,
    ),
    "a permutation that moves nothing": (
        lambda x, s: (x @ s.permute(0, 1), x @ s.sin().permute(0, 1)),
        (X, SQUARE),
        1,
    ),
    "a permutation beside a transpose": (lambda x, s: (x @ s.permute(0, 1), x @ s.sin().mT), (X, SQUARE), 1),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_rewritten_graph_computes_what_the_function_does(name, turned, monkeypatch):
    if turned:
        monkeypatch.setattr(products, "SMALLEST_TURNED", 0)
    function, inputs, left = FUNCTIONS[name]
    program = rewritten(function, *inputs)
    wanted, found = function(*inputs), program(*inputs)
    for ours, theirs in zip(*(v if isinstance(v, tuple | list) else (v,) for v in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    if left is not None:
        assert count(program, aten.mm.default) == left
    assert count(program, aten.addmm.default) == 0


def test_draws_are_the_programs_own_and_in_their_order():
    """Normals through an empty tensor, through a tensor of the program's, and uniforms between them."""

    def draws(x):
        first = torch.empty(20, 3).normal_()
        second = torch.rand(5)
        third = torch.empty(4, 4).normal_(2.0, 3.0)
        return first + x, second, third, torch.randn(2, 2)

    x = torch.zeros(20, 3)
    program, found = rewritten(draws, x), []
    for way in (draws, program):
        torch.manual_seed(3)
        found.append([*way(x), torch.rand(1)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
    assert count(program, aten.normal_functional.default) < 3


def heads(h, loc, log_scale, g_loc, g_scale):
    """Forward and backward of two linear heads on the same features, as autograd writes them down."""
    forward = h @ loc.mT + (h @ log_scale.mT).exp()
    by_weights = (g_loc.mT @ h).mT.mT, (2 * g_scale).mT @ h
    return forward, *by_weights, g_loc @ loc + (2 * g_scale) @ log_scale


HEADS = normal(6, 5), normal(3, 5, seed=1), normal(3, 5, seed=2), normal(6, 3, seed=3), normal(6, 3, seed=4)


def test_two_heads_become_one_product_each_way():
    assert count(rewritten(heads, *HEADS), aten.mm.default) == 3


def test_large_operands_are_not_copied_for_one_call_less(monkeypatch):
    monkeypatch.setattr(products, "LARGEST_COPY", 29)
    assert count(rewritten(heads, *HEADS), aten.mm.default) == 6


def test_products_of_a_batch_with_weights_are_turned_and_their_gradients_are_not(monkeypatch):
    """Rows of what a product gives are what one thread computes: those of the weights, not of the batch."""
    monkeypatch.setattr(products, "SMALLEST_TURNED", 6 * 5 * 9)
    x, weight, small, g = normal(6, 5), normal(9, 5, seed=1), normal(4, 5, seed=2), normal(6, 9, seed=3)

    def layer(x, weight, small, g):
        return (x @ weight.mT).tanh(), (x.cos() @ small.mT).exp(), g.sin().mT @ x

    program = rewritten(layer, x, weight, small, g)
    shapes = [tuple(node.meta["val"].shape) for node in program.graph.nodes if node.target is aten.mm.default]
    assert sorted(shapes) == [(6, 4), (9, 5), (9, 6)]
    for ours, theirs in zip(program(x, weight, small, g), layer(x, weight, small, g), strict=True):
        assert ours.stride() == theirs.stride()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gathered_rows_are_stored_for_all_their_readers():
    data, order = normal(20, 3), torch.tensor([4, 0, 19, 4])

    def read_twice(data, order):
        rows = data[order]
        return rows.exp(), rows @ rows.mT

    program = rewritten(read_twice, data, order)
    (rows,) = (node for node in program.graph.nodes if node.target is aten.index.Tensor)
    assert [user.target for user in rows.users] == [force_stride_order]
    for ours, theirs in zip(program(data, order), read_twice(data, order), strict=True):
        assert torch.equal(ours, theirs)


def test_the_compiler_is_not_loaded_by_who_does_not_compile():
    check = "import sys, ppl_vae; assert 'torch._inductor' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_changes_of_inputs_come_last_and_are_read_before():
    """Two calls of a batch norm in one step: the second goes on from the moments that the first has left."""
    graph = fx.Graph()
    moment, x = graph.placeholder("moment"), graph.placeholder("x")
    for node in (moment, x):
        node.meta["val"] = torch.zeros(2)
    results = []
    for _ in range(2):
        results.append(graph.call_function(aten.mul.Tensor, (moment, 0.5)))
        graph.call_function(aten.copy_.default, (moment, graph.call_function(aten.add.Tensor, (results[-1], x))))
    graph.output(tuple(results))
    start, given = torch.tensor([8.0, 4.0]), torch.tensor([1.0, 2.0])
    before = start.clone()
    expected = fx.GraphModule({}, graph)(before, given)
    _changes_last(graph)
    after = start.clone()
    found = fx.GraphModule({}, graph)(after, given)
    assert all(map(torch.equal, found, expected))
    assert torch.equal(after, before)
    *_, last, _ = graph.nodes
    assert last.target is aten.copy_.default
    assert sum(node.target is aten.copy_.default for node in graph.nodes) == 1


@pytest.mark.slow
@pytest.mark.skipif(inductor.missing_compiler() is not None, reason="no compiler")
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_batch_norm_is_compiled_with_its_dropout(dropout):
    """Running moments changed in the middle of a step, and the mask of a dropout was read before it was drawn."""

    def fitted(compile):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout))
        decoder = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 20))
        vae = pv.VAE((20,), 3, network=(encoder, decoder), seed=0)
        x = (torch.rand(640, 20, generator=torch.Generator().manual_seed(0)) < 0.3).float()
        return pv.fit(vae, x, epochs=3, batch_size=64, compile=compile, progress=False, num_threads=1)

    ours, eager = fitted(True), fitted(False)
    assert ours.manifest["compile"] == "compiled"
    np.testing.assert_allclose(ours.history["train_elbo"], eager.history["train_elbo"], atol=2e-3)
