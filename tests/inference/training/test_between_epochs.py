"""What callbacks change between epochs: however the steps are taken, the run is the one that the programs take."""

import functools
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.compilation import step_choice
from ppl_vae.inference.compilation.inductor import missing_compiler
from ppl_vae.inference.training import run_steps
from ppl_vae.inference.training.between_epochs import taker
from tests.inference.small_runs import D, small_data, train


class Pair(nn.Module):
    """x ~ N(W z + offset, 1) with a linear guide."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, D, generator=generator))
        self.encoder = nn.Parameter(0.1 * torch.randn(D, 2, generator=generator))
        self.activation: nn.Module = nn.Tanh()
        self.offset = 0.0

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight + self.offset, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.activation(x @ self.encoder), 0.5).to_event(1))


def of_program(pair, objective, optimizer, epoch):
    pair.offset = float(epoch)


def of_module(pair, objective, optimizer, epoch):
    pair.activation = nn.ReLU()


def of_objective(pair, objective, optimizer, epoch):
    objective.beta = float(epoch)


def of_decay(pair, objective, optimizer, epoch):
    optimizer.param_groups[0].update(weight_decay=0.5, betas=(0.5, 0.9))


def of_rate(pair, objective, optimizer, epoch):
    optimizer.param_groups[0]["lr"] *= 0.5


def of_frozen(pair, objective, optimizer, epoch):
    pair.weight.requires_grad_(epoch > 2)


CHANGES = [of_program, of_module, of_objective, of_decay, of_rate, of_frozen]


def run(change, **options):
    """A run whose callback makes the change after every epoch; its weights."""
    pair, objective, made = Pair(), inf.Beta("analytic-kl", 0.0), []

    def optimizer(parameters):
        made.append(torch.optim.AdamW(parameters, lr=1e-2))
        return made[-1]

    def callback(row):
        change(pair, objective, made[-1], row["epoch"])

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the steps are")
        result = train(
            pair, small_data(), elbo=objective, optimizer=optimizer, callbacks=callback, epochs=4, **options
        )
    return result, [leaf.detach() for leaf in pair.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_traced_steps_follow_a_callback(monkeypatch, change):
    _, expected = run(change, compile=False)
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    monkeypatch.setattr(step_choice.code_cache, "is_noted", lambda name: False)
    result, found = run(change)
    assert result.manifest["compile"] == ("traced" if change in (of_decay, of_rate) else "eager")
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler() is not None, reason="no compiler")
@pytest.mark.parametrize("change", CHANGES)
def test_compiled_steps_follow_a_callback(change):
    _, expected = run(change, compile=False)
    result, found = run(change, compile=True)
    assert result.manifest["compile"] == {of_decay: "traced", of_rate: "compiled"}.get(change, "eager")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_frozen_parameter_stands_still_and_the_others_move():
    pair, weights = Pair(), []

    def callback(row):
        weights.append((pair.weight.detach().clone(), pair.encoder.detach().clone()))
        pair.weight.requires_grad_(False)

    train(pair, small_data(), callbacks=callback, compile=False)
    (first_weight, first), (second_weight, second), (third_weight, third) = weights
    assert torch.equal(first_weight, second_weight)
    assert torch.equal(second_weight, third_weight)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_a_parameter_that_the_run_did_not_begin_with_is_refused():
    pair = Pair()
    pair.weight.requires_grad_(False)

    def callback(row):
        pair.weight.requires_grad_(True)

    with pytest.raises(ModelError, match=r"a callback made 'model\.weight' trainable"):
        train(pair, small_data(), callbacks=callback, compile=False)


def test_a_rate_beside_a_schedule_is_warned_of():
    made = []

    def optimizer(parameters):
        made.append(torch.optim.Adam(parameters, lr=1e-2))
        return made[-1]

    def callback(row):
        made[-1].param_groups[0]["lr"] = 1.0

    with pytest.warns(UserWarning, match="a callback set the learning rate"):
        train(
            Pair(), small_data(), optimizer=optimizer, callbacks=callback, schedule=lambda step: 1.0, compile=False
        )


@pytest.mark.slow
def test_a_callback_that_only_keeps_rows_leaves_the_steps_captured(monkeypatch):
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    monkeypatch.setattr(step_choice.code_cache, "is_noted", lambda name: False)
    pair, steps = Pair(), []
    pair.rows = []
    captured = run_steps.captured

    def noted(*args):
        steps.append(captured(*args))
        return steps[-1]

    monkeypatch.setattr(run_steps, "captured", noted)
    result = train(pair, small_data(), callbacks=pair.rows.append)
    assert result.manifest["compile"] == "traced"
    assert taker(steps[0][0]).eager.model.__self__ is pair
    assert len(pair.rows) == 3


class Moving(Pair):
    """Subtracts a moving average of the data, which ``move`` writes after its use."""

    def __init__(self, frozen, move):
        super().__init__()
        self.average = nn.Parameter(torch.zeros(D), requires_grad=False) if frozen else None
        if not frozen:
            del self.average
            self.register_buffer("average", torch.zeros(D))
        self.move = move

    def guide(self, x):
        centred = x - self.average
        if self.training:
            self.move(self, 0.9 * self.average.detach() + 0.1 * x.mean(0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.activation(centred @ self.encoder), 0.5).to_event(1))


def in_place(pair, value):
    pair.average.copy_(value)


def by_data(pair, value):
    pair.average.data = value


def anew(pair, value):
    kind = functools.partial(nn.Parameter, requires_grad=False) if "average" in pair._parameters else torch.clone
    pair.average = kind(value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:compile='auto'")
@pytest.mark.parametrize("move", [in_place, by_data, anew])
@pytest.mark.parametrize("frozen", [False, True])
def test_what_programs_write_themselves_is_written_by_every_way_to_take_steps(monkeypatch, frozen, move):
    def found():
        pair = Moving(frozen, move)
        result = pv.fit(pair, small_data(), epochs=2, batch_size=16, progress=False, num_threads=1, compile=compile)
        return [result.history.loss.tolist(), [t.tolist() for t in pair.state_dict().values()]]

    compile = False
    expected = found()
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    monkeypatch.setattr(step_choice.code_cache, "is_noted", lambda name: False)
    compile = "auto"
    assert found() == expected
