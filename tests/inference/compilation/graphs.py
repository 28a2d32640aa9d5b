"""Graphs after every rewrite, for the tests of rewrites."""

import torch
from torch._inductor.decomposition import select_decomp_table

from ppl_vae.inference.compilation.step_graph import functional, trace


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rewritten(function, *inputs):
    """The graph of a function after every rewrite."""
    program, _ = functional(trace(function, inputs, []), select_decomp_table())
    program.graph.lint()
    return program


def count(program, target):
    return sum(node.target is target for node in program.graph.nodes)
