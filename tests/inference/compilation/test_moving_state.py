"""State that moves in the programs: every way to take the steps gives the eager losses, and says what moved."""

import itertools
import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppl_vae.inference.compilation.moving_state import moved, put_back, remember
from ppl_vae.inference.compilation.step_choice import Choice
from ppl_vae.inference.training import loop, run_steps
from tests.inference.small_runs import D, small_data, small_vae, train

temperature, log = 1.0, []


def traced_unless_refused(compile, *_):
    """The rule of compile="auto", as if every run were long enough for a trace."""
    return Choice("eager", "compile=False") if compile is False else Choice("traced", "by the rule")


class Pair(nn.Module):
    """Programs whose noise is ``scale()``, which a subclass moves."""

    def __init__(self):
        super().__init__()
        self.loc, self.dec, self.calls = nn.Parameter(torch.zeros(2)), nn.Linear(2, D), 0
        with torch.no_grad():
            self.dec.weight.fill_(0.1)
            self.dec.bias.zero_()

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc.expand(len(x), 2), 1.0).to_event(1))

    def model(self, x):
        scale = self.scale(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.dec(z), scale).to_event(1), obs=x)


class Counter(Pair):
    def scale(self, x):
        self.calls += self.training
        return 3.0 if self.calls < 6 else 1.0


class SlowSchedule(Pair):
    def scale(self, x):
        self.calls += self.training
        return 1.0 + self.calls * 1e-6


class Average(Pair):
    mean = torch.zeros(())

    def scale(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().abs().mean()
        return 1.0 + self.mean


class InPlace(Pair):
    def __init__(self):
        super().__init__()
        self.held = {"parts": [np.ones(1)]}

    def scale(self, x):
        if self.training:
            self.held["parts"][0] += 0.1
        return float(self.held["parts"][0][0])


class Global(Pair):
    def scale(self, x):
        global temperature
        if self.training:
            temperature *= 0.9
        return 0.5 + temperature


class OfTheClass(Pair):
    seen = 0

    def scale(self, x):
        type(self).seen += self.training
        return 1.0 + 0.1 * self.seen


class PythonNoise(Pair):
    def scale(self, x):
        return 1.0 + random.random() if self.training else 1.0


class Appending(Pair):
    def scale(self, x):
        if self.training:
            log.append(0)
        return 1.0 + 0.1 * len(log)


def closures():
    """Plain functions with a counter in a closure's cell, and another in the guide."""
    pair, calls = Pair(), 0
    pair.scale = lambda x: 1.0

    def model(x):
        nonlocal calls
        calls += torch.is_grad_enabled()
        pyro.module("pair", pair)
        with pyro.plate("data", len(x)), poutine.scale(scale=min(1.0, calls / 20)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(pair.dec(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("pair", pair)
        with pyro.plate("data", len(x)), poutine.scale(scale=min(1.0, (calls + torch.is_grad_enabled()) / 20)):
            pyro.sample("z", dist.Normal(pair.loc.expand(len(x), 2), 1.0).to_event(1))

    return model, guide


def of_a_function():
    """A counter that is an attribute of the program itself, and one in a default."""
    pair = Pair()

    def guide(x, held={"slope": 0.0}):  # noqa: B006
        pyro.module("own", pair)
        guide.calls += torch.is_grad_enabled()
        held["slope"] += 0.1 * torch.is_grad_enabled()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pair.loc.expand(len(x), 2), 1.0 + 0.1 * guide.calls).to_event(1))

    guide.calls = 0
    pair.scale = lambda x: 1.0
    return pair.model, guide


MOVING = {
    Counter: "Counter.calls", SlowSchedule: "SlowSchedule.calls", Average: "Average.mean", InPlace: "parts",
    Global: "the global 'temperature'", OfTheClass: "OfTheClass.seen", PythonNoise: "Python's random numbers",
    Appending: "log", closures: "the closure's 'calls'", of_a_function: "guide.calls",
}  # fmt: skip


def losses(make, mode):
    """The losses of a run taken in a mode."""
    global temperature
    temperature = 1.0
    log.clear()
    random.seed(0)
    OfTheClass.seen = 0
    pyro.clear_param_store()
    options = {"elbo": "monte-carlo-kl", "compile": mode}
    if mode is False:
        return train(make(), small_data(), **options).history.loss.tolist()
    with pytest.warns(UserWarning, match="state that moves from call to call") as caught:
        result = train(make(), small_data(), **options)
    assert len(caught) == 1
    assert MOVING[make] in str(caught[0].message)
    assert result.manifest["compile"] == "eager"
    assert MOVING[make] in result.manifest["compile_reason"]
    return result.history.loss.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("make", MOVING)
@pytest.mark.parametrize("mode", [True, "auto"])
def test_every_mode_gives_the_eager_losses(make, mode, monkeypatch):
    if mode == "auto":
        monkeypatch.setattr(run_steps, "choose", traced_unless_refused)
    assert losses(make, mode) == losses(make, False)


class Kept(Pair):
    """Keeps its last draws and a cache for somebody to look at: no state that moves."""

    cache = None

    def scale(self, x):
        if self.cache is None:
            self.cache = torch.ones(())
        self.last = 2 * x
        return self.cache


@pytest.mark.slow
def test_what_is_only_kept_does_not_stop_a_capture(monkeypatch):
    monkeypatch.setattr(run_steps, "choose", traced_unless_refused)
    assert train(Kept(), small_data(), elbo="monte-carlo-kl").manifest["compile"] == "traced"
    assert train(small_vae(), small_data()).manifest["compile"] == "traced"


HELD = {
    "names": np.array(["a", "b"]),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "objects": np.array([1, "a", None], dtype=object),
    "records": np.zeros(2, dtype=[("a", float), ("b", int)]),
    "big-endian": np.arange(3, dtype=">i4"),
    "conjugate": torch.zeros(2, dtype=torch.complex64).conj(),
    "one expanded number": torch.ones(()).expand(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HELD)
def test_programs_may_hold_arrays_of_any_kind(kind, tmp_path):
    """What no tensor can be made of ended training in torch's words, or a run that was continued."""

    class Holder(Pair):
        def scale(self, x):
            return 1.0 + 0.0 * len(HELD[kind])

    holder = Holder()
    holder.held = HELD[kind]
    for epochs in (1, 2):
        train(holder, small_data(), elbo="monte-carlo-kl", epochs=epochs, out_dir=tmp_path / "run", resume=True)


@pytest.mark.parametrize("kind", ["names", "dates", "objects", "records"])
def test_an_array_of_any_kind_that_is_changed_is_state_that_moves(kind):
    holder = [held := HELD[kind].copy()]
    before = remember([holder], [])
    assert moved(before, before, remember([holder], [])) is None
    held[0] = {"names": "c", "dates": np.datetime64("2021-01-01"), "objects": 2, "records": (1.0, 2)}[kind]
    assert moved(before, before, remember([holder], [])) is not None


class Clock(Pair):
    """Reads what no look can find: stands for a clock that moves between the epochs."""

    def scale(self, x):
        return READING()


def READING():
    return float(CLOCK.__self__[-1])


CLOCK = [1.0].append


@pytest.mark.slow
def test_a_drift_that_no_look_can_find_is_found_while_training(monkeypatch):
    monkeypatch.setattr(loop, "STEPS_BETWEEN", 4)
    monkeypatch.setattr(run_steps, "choose", traced_unless_refused)
    epoch = loop._epoch

    def and_then_the_clock_moves(run, state, *rest):
        row = epoch(run, state, *rest)
        if state.epoch == 2:
            CLOCK(2.0)
        return row

    monkeypatch.setattr(loop, "_epoch", and_then_the_clock_moves)
    with pytest.warns(UserWarning, match="the steps are eager from epoch 3 on, not traced as since step 4"):
        found = train(Clock(), small_data(), elbo="monte-carlo-kl", epochs=4)
    assert found.manifest["compile"] == "eager"
    del CLOCK.__self__[1:]
    expected = train(Clock(), small_data(), elbo="monte-carlo-kl", epochs=4, compile=False)
    assert found.history.loss.tolist() == expected.history.loss.tolist()
    del CLOCK.__self__[1:]


@pytest.mark.slow
def test_comparing_during_a_run_changes_no_byte(monkeypatch):
    monkeypatch.setattr(run_steps, "choose", traced_unless_refused)
    without = train(small_vae(), small_data(), epochs=4).history.loss.tolist()
    monkeypatch.setattr(loop, "STEPS_BETWEEN", 1)
    assert train(small_vae(), small_data(), epochs=4).history.loss.tolist() == without


@pytest.mark.parametrize(
    "make",
    [
        lambda: random.Random(0), lambda: np.random.default_rng(0), lambda: torch.Generator().manual_seed(0),
        lambda: itertools.count(), lambda: iter([1, 2, 3]), lambda: (n for n in range(9)),
    ],
)  # fmt: skip
def test_generators_in_closures_are_seen(make):
    held = make()

    def program():
        if isinstance(held, torch.Generator):
            torch.rand(1, generator=held)
        elif hasattr(held, "random"):
            held.random()
        else:
            next(held)

    memories = [remember([program], [])]
    for _ in range(2):
        program()
        memories.append(remember([program], []))
    assert moved(*memories) == "the closure's 'held'"
    if not hasattr(held, "__next__"):
        put_back(memories[0])
        assert moved(memories[0], remember([program], []), remember([program], [])) is None
