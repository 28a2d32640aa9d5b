"""Binary cross entropy in a rewritten graph, against its closed form; and with one kind of exponential."""

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.inference.compilation.graphs import count, rewritten

aten = torch.ops.aten
LOGITS = torch.tensor([-1e4, -100.0, -20.5, -3.0, -1e-3, 0.0, 1e-3, 3.0, 20.5, 100.0, 1e4], dtype=torch.float64)
TARGETS = torch.linspace(0, 1, len(LOGITS), dtype=torch.float64)


def value_and_gradient(x, target):
    x = x.detach().requires_grad_()
    value = binary_cross_entropy_with_logits(x, target, reduction="none")
    return value, *torch.autograd.grad(value.sum(), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradient_are_those_of_the_closed_form(dtype):
    """log(1 + exp(x)) - t x and its derivative, 1 / (1 + exp(-x)) - t, by NumPy in double precision."""
    x, target = LOGITS.to(dtype), TARGETS.to(dtype)
    program = rewritten(value_and_gradient, x, target)
    value, gradient = program(x, target)
    logits, targets = x.double().numpy(), target.double().numpy()
    with np.errstate(over="ignore"):
        wanted = np.logaddexp(0, logits) - targets * logits, 1 / (1 + np.exp(-logits)) - targets
    # Units in the last place of 1, for terms of its size, and of the value itself.
    places = 4 * torch.finfo(dtype).eps
    np.testing.assert_allclose(value.double(), wanted[0], rtol=places, atol=places)
    np.testing.assert_allclose(gradient.double(), wanted[1], rtol=places, atol=places)


def test_no_other_exponential_is_left():
    program = rewritten(value_and_gradient, LOGITS, TARGETS)
    exponents = {
        str(node.args[0].args[0].target) for node in program.graph.nodes if node.target is aten.exp.default
    }
    assert exponents == {"aten.abs.default"}
    assert count(program, aten.sigmoid.default) == 0


def test_a_bernoulli_s_log_prob_is_rewritten_too():
    program = rewritten(
        lambda x, t: dist.Bernoulli(logits=x, validate_args=False).log_prob(t), LOGITS, TARGETS.round()
    )
    assert count(program, aten.exp.default) == count(program, aten.log.default) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: torch.log(torch.exp(-(-x).clamp_min(0)) + torch.exp(-y - (-x).clamp_min(0))),
        lambda x, y: torch.log(torch.exp(-(-x).clamp_min(1)) + torch.exp(-x - (-x).clamp_min(1))),
        lambda x, y: torch.log(torch.exp(-x) + torch.exp(y - x)),
        lambda x, y: torch.log(
            torch.add(torch.exp(-(-x).clamp_min(0)), torch.exp(-x - (-x).clamp_min(0)), alpha=3)
        ),
        lambda x, y: (x + y).sigmoid() + torch.log(x.abs() + y.abs()),
    ],
)
def test_what_only_looks_like_it_stays(function):
    x, y = LOGITS[2:-2], LOGITS[2:-2].flip(0) + 0.5
    program, traced = rewritten(function, x, y), function(x, y)
    torch.testing.assert_close(program(x, y), traced, rtol=1e-12, atol=1e-12)
    assert count(program, aten.abs.default) == (2 if count(program, aten.sigmoid.default) else 0)
