"""What a user's functions are made of: every constant that they read, nothing that they change."""

import functools
import subprocess
import sys
import textwrap

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroSample

from ppl_vae.inference.training.code_fingerprint import ENTRIES, code_fingerprint

GLOBAL = 3.0


def read(thing):
    return code_fingerprint(it=thing)


def closure(value):
    return lambda x: x * value


def nested(value):
    def inner():
        return value

    return lambda x: inner() * x


class Scaled(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.scale * x


class Callable:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate


class Sampled(PyroModule):
    def __init__(self, scale):
        super().__init__()
        self.weight = PyroSample(dist.Normal(0.0, scale))


def with_default(value):
    def f(x, scale=value, *, shift=value):
        return x * scale + shift

    return f


@pytest.mark.parametrize(
    "make",
    [
        closure,
        nested,
        with_default,
        Scaled,
        Callable,
        Sampled,
        lambda v: Callable(v).__call__,
        lambda v: functools.partial(closure, v),
        lambda v: closure(torch.full((3,), v)),
        lambda v: closure(np.full(3, v)),
        lambda v: closure({"scale": v}),
        lambda v: closure([1, (v, 2)]),
        lambda v: closure(dist.Normal(0.0, v)),
        lambda v: closure(dist.Normal(torch.zeros(2), v).to_event(1)),
        lambda v: closure(Callable(v)),
        lambda v: torch.nn.Dropout(v / 10),
        lambda v: eval(f"lambda x: x * {v}"),
    ],
)
def test_another_number_is_seen(make):
    assert read(make(2.0)) == read(make(2.0))
    assert read(make(2.0)) != read(make(5.0))


def test_a_global_is_read_by_name(monkeypatch):
    def f(x):
        return GLOBAL * x

    assert read(f)["it.GLOBAL"] == "3.0"
    monkeypatch.setitem(f.__globals__, "GLOBAL", 4.0)
    assert read(f)["it.GLOBAL"] == "4.0"


def test_what_the_code_changes_itself_is_no_constant():
    """A counter that has moved in this process does not make it another run."""
    module, calls, seen = Scaled(2.0), 0, {"n": 0}

    def model(x):
        nonlocal calls
        calls += 1
        seen["n"] += 1
        return module(x)

    before = read(model)
    model(torch.ones(1))
    assert module.calls == calls == seen["n"] == 1
    assert read(model) == before


def test_trained_tensors_and_docstrings_do_not_count():
    layer = torch.nn.Linear(2, 2)
    before = read(closure(layer)), read(closure(layer.weight))
    torch.nn.init.zeros_(layer.weight)
    assert (read(closure(layer)), read(closure(layer.weight))) == before
    one, other = {}, {}
    exec("def f(x):\n    'Double.'\n    return 2 * x", one)
    exec("\n\ndef f(x):\n    'Twice.'\n    return 2 * x", other)
    assert read(one["f"]) == read(other["f"])


def test_installed_code_counts_by_name():
    assert read(torch.optim.Adam) == {"it": "torch.optim.adam.Adam"}
    assert read(None) == {}


def test_it_is_bounded_and_goes_in_circles():
    circle = [1.0]
    circle.append(circle)
    assert len(read(closure(circle))) < 9
    assert (
        len(read(closure([[[float(i * j * k) for k in range(9)] for j in range(9)] for i in range(9)]))) <= ENTRIES
    )


@pytest.mark.slow
def test_it_is_the_same_in_every_process():
    program = """
        import json, pyro.distributions as dist, torch
        from ppl_vae.inference.training.code_fingerprint import code_fingerprint
        names, prior = {"a", "b", "c", "d"}, dist.Normal(torch.zeros(2), 3.0)
        def model(x, scale=2.0):
            return prior, names, x in {"p", "q", "r"}, lambda: object() and scale
        print(json.dumps(code_fingerprint(model=model, net=torch.nn.Linear(2, 3))))
    """
    found = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert b"names" in found.pop()
