"""A recording is the graph that torch's make_fx makes, operation by operation; what it cannot hold is refused."""

import operator
import subprocess
import sys

import pytest
import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae.recording import is_recording, record

aten = torch.ops.aten


def listed(program):
    """Every operation with its arguments, tensors by their number in the order in which they come to be."""
    numbers, rows = {}, []
    for node in program.graph.nodes:
        if node.op == "placeholder" and not node.name.startswith("constant"):
            numbers[node] = ("input", len(numbers))
    for node in program.graph.nodes:
        if node.target is operator.getitem:
            numbers[node] = (numbers[node.args[0]], node.args[1])
        elif node.op in ("call_function", "output"):
            for each in node.all_input_nodes:
                if each.op in ("get_attr", "placeholder") and each not in numbers:
                    name = each.target if each.op == "get_attr" else each.name
                    known = {told[1]: told for told in numbers.values() if told[0] == "constant"}
                    numbers[each] = known.get(name, ("constant", name))
            rows.append((node.target, node.args, node.kwargs))
            numbers[node] = ("row", len(rows))
    constants = list(dict.fromkeys(told[1] for told in numbers.values() if told[0] == "constant"))

    def told(node):
        kind, number = numbers[node]
        return f"<{kind} {constants.index(number) if kind == 'constant' else number}>"

    # From torch 2.14 on make_fx has the one where autograd has called the other: both are the tensor itself.
    return [
        (
            str(target).replace("aten.detach", "aten.alias"),
            str(fx.node.map_arg((args, kwargs), lambda n: Named(told(n)))),
        )
        for target, args, kwargs in rows
    ]


class Named(str):
    __slots__ = ()
    __repr__ = str.__str__


def require_as_make_fx(function, *given):
    state = torch.get_rng_state()
    ours = record(function, *(tensor.clone() for tensor in given))
    torch.set_rng_state(state)
    theirs = make_fx(function)(*(tensor.clone() for tensor in given))
    assert listed(ours.program) == listed(theirs)
    return ours


weight, temperature = torch.tensor([0.5, -1.0, 2.0]), torch.tensor(2.0)


def gradient(x):
    leaf = x.detach().requires_grad_()
    value = (leaf.sigmoid() * weight).logsumexp(-1).sum() + torch.tensor(0.5) * leaf.square().mean()
    return [value.detach(), *torch.autograd.grad(value, leaf), None]


def drawn(x):
    return x * torch.randn_like(x) + torch.empty_like(x).normal_() + torch.bernoulli(x.sigmoid())


def in_place(x):
    total = torch.zeros(3)
    total.add_(x.sum(0))
    total[1] = 7.0
    x.mul_(2.0)
    return total, x.chunk(2), x.max(dim=1)


def layered(x):
    norm = nn.functional.layer_norm(x, (3,), weight, weight)
    return (
        nn.functional.dropout(norm, 0.5),
        torch.where(x > 0, x, -float("inf")),
        x.to(torch.promote_types(x.dtype, torch.float64)),
    )


def mapped(x):
    return torch.func.vmap(torch.func.grad(lambda row: (row * weight).sum().exp()))(x)


def known(x):
    return x * 2 if (torch.tensor(3.0) * temperature).item() > 2 and temperature.item() > 0 else x * temperature


@pytest.mark.parametrize(
    "function", [gradient, drawn, in_place, layered, mapped, known, torch.exp, lambda x: (x, weight)]
)
def test_a_recording_is_what_make_fx_writes_down(function):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    recorded = require_as_make_fx(function, x)
    torch.manual_seed(1)
    expected = function(x.clone() + 0.25)
    torch.manual_seed(1)
    torch.testing.assert_close(recorded(x + 0.25), expected, rtol=0.0, atol=0.0)


def test_constants_are_inputs_and_stay_what_they_are():
    def function(x):
        made = torch.tensor([1.0, 2.0])
        made.mul_(x)
        return made + given

    given = torch.ones(2)
    recorded = record(function, torch.tensor(3.0))
    assert recorded.constants[1] is given
    given.fill_(5.0)
    for _ in range(2):
        assert recorded(torch.tensor(10.0)).tolist() == [15.0, 25.0]


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: torch.equal(x, x),
        lambda x: torch.rand(()).item(),
        lambda x: weight.sum().item(),
        lambda x: torch.zeros_like(temperature).add_(temperature).add_(x.sum()).item(),
        lambda x: torch.zeros(()).add_(x.sum()).item(),
        lambda x: torch.tensor(1.0).add_(x.sum()).item(),
        lambda x: (torch.tensor(1.0) * torch.bernoulli(torch.tensor(0.5))).item(),
    ],
)
def test_a_value_that_may_move_is_not_looked_at(look):
    x = torch.ones(3)
    with pytest.raises(RuntimeError, match="look at a value of a tensor"):
        record(lambda x: x * look(x), x)
    with pytest.raises(RuntimeError):
        make_fx(lambda x: x * look(x))(x)
    assert not is_recording()


def test_a_generator_of_the_users_own_is_no_part_of_a_graph():
    generator = torch.Generator()
    with pytest.raises(NotImplementedError, match="Generator"):
        record(lambda x: x + torch.randn(3, generator=generator), torch.ones(3))


def test_code_can_tell_that_it_is_recorded():
    seen = []
    record(lambda x: seen.append(is_recording()) or x + 1, torch.ones(3))
    assert (seen, is_recording()) == ([True], False)


def test_nothing_is_left_alive_and_no_number_of_a_dead_tensor_is_taken_for_another():
    """A tensor that is made when another has died may have its address."""

    def function(x):
        for shift in range(200):
            x = x + float(shift)
        return x

    recorded = record(function, torch.zeros(2))
    assert recorded(torch.zeros(2)).tolist() == [19900.0] * 2
    assert not recorded.constants


def test_casts_that_autocast_keeps_are_recorded():
    linear = nn.Linear(3, 3)

    def function(x, *_):
        with torch.autocast("cpu", torch.bfloat16):
            return linear(linear(x))

    x = torch.randn(2, 3)
    function(x)
    recorded = record(function, x, *linear.parameters())
    before = recorded(x, *linear.parameters())
    assert torch.equal(before, function(x))
    assert not torch.equal(recorded(x, linear.weight * 2, linear.bias), before)


@pytest.mark.slow
def test_parts_that_torch_compiles_are_recorded_as_they_are():
    code = """
import torch
from torch import nn
from ppl_vae.recording import record
net = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), backend="aot_eager")
x, y = torch.randn(2, 5, 3)
net(x)
recorded = record(lambda x, *parameters: net(x), x, *net.parameters())
assert torch.equal(recorded(y, *net.parameters()), net(y))
print([str(node.target) for node in recorded.program.graph.nodes if node.op == "call_function"], recorded.constants)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "['aten.t.default', 'aten.addmm.default', 'aten.tanh.default', 'aten.detach.default'] []\n"
    assert "recompile_limit" not in ran.stderr


def test_a_recording_loads_no_compiler():
    code = """
import sys
import torch
from ppl_vae.recording import record
assert record(lambda x: torch.autograd.grad(x.exp().sum(), x), torch.ones(3, requires_grad=True))(torch.zeros(3))
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
