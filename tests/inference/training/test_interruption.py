"""Ctrl-C and SIGTERM in the middle of fit: a whole epoch, evaluation mode, a clean process, a checkpoint."""

import os
import signal
import subprocess
import sys
import textwrap

import pyro
import pytest
import torch
from pyro.poutine.runtime import _PYRO_STACK

import ppl_vae as pv
from ppl_vae.inference.training.interruption import FitInterrupted, Interruptions
from ppl_vae.inference.training.steps import Stepper
from tests.inference.small_runs import STEPS, require_same, small_data, small_vae, train, weight_bytes


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts():
    """As in a terminal: a process that a shell has put into the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def signalled(monkeypatch):
    """Sends this process a signal inside a program, at a given step."""

    def at(step, number=signal.SIGINT):
        objective_run, calls = pv.inference.AnalyticKL.run, []

        def run(self, model, guide, *args, **kwargs):
            calls.append(1)
            if len(calls) == step:
                with pyro.poutine.trace():
                    os.kill(os.getpid(), number)
            return objective_run(self, model, guide, *args, **kwargs)

        monkeypatch.setattr(pv.inference.AnalyticKL, "run", run)

    return at


def test_ctrl_c_leaves_the_last_whole_epoch_in_evaluation_mode(signalled):
    two = train(small_vae(), small_data(), epochs=2)
    before = torch.get_rng_state()
    # Two runs of the programs come before the first step.
    signalled(2 + 2 * STEPS + 2)
    vae = small_vae()
    with pytest.raises(FitInterrupted, match="interrupted in epoch 3; the weights are those of epoch 2") as caught:
        train(vae, small_data(), epochs=5, compile=False)
    assert weight_bytes(vae) == weight_bytes(two.model)
    assert caught.value.history.loss.tolist() == two.history.loss.tolist()
    assert not any(module.training for module in vae.modules())
    assert not _PYRO_STACK
    assert torch.equal(before, torch.get_rng_state())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_an_interrupted_run_continues_to_the_same_bytes(signalled, tmp_path):
    whole = train(small_vae(), small_data(), epochs=4)
    signalled(2 + 2 * STEPS + 1)
    with pytest.raises(KeyboardInterrupt, match="continues with resume=True"):
        train(small_vae(), small_data(), epochs=4, out_dir=tmp_path, compile=False)
    require_same(train(small_vae(), small_data(), epochs=4, out_dir=tmp_path, resume=True), whole)


def test_a_loader_that_is_interrupted_leaves_evaluation_mode():
    class Interrupted:
        def __iter__(self):
            yield from small_data().split(16)
            raise KeyboardInterrupt

    vae = small_vae()
    before = weight_bytes(vae)
    with pytest.raises(KeyboardInterrupt):
        train(vae, Interrupted())
    assert weight_bytes(vae) == before
    assert not any(module.training for module in vae.modules())


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_ends_the_process(tmp_path):
    code = """
        import os, signal, sys
        from ppl_vae.inference.training.steps import Stepper
        from tests.inference.small_runs import STEPS, small_data, small_vae, train

        take, calls = Stepper.__call__, []
        def step(self, batch, number):
            if number == 2 * STEPS + 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return take(self, batch, number)
        Stepper.__call__ = step
        train(small_vae(), small_data(), epochs=4, out_dir=sys.argv[1], compile=False)
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    continued = train(small_vae(), small_data(), epochs=4, out_dir=tmp_path, resume=True)
    require_same(continued, train(small_vae(), small_data(), epochs=4))


def test_a_second_signal_does_not_wait():
    with Interruptions(terminate=False) as interruptions:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruptions.arrived == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_the_users_own_handler_does_is_left_to_it():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with Interruptions(terminate=False) as interruptions:
            os.kill(os.getpid(), signal.SIGINT)
            assert not seen
            interruptions.deliver()
            assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_of_the_programs_leaves_the_last_whole_epoch(monkeypatch):
    vae, take = small_vae(), Stepper.__call__

    def step(self, batch, number):
        if number == STEPS + 1:
            raise ZeroDivisionError
        return take(self, batch, number)

    one = train(small_vae(), small_data(), epochs=1, compile=False)
    monkeypatch.setattr(Stepper, "__call__", step)
    with pytest.raises(ZeroDivisionError):
        train(vae, small_data(), compile=False)
    assert weight_bytes(vae) == weight_bytes(one.model)
    assert not any(module.training for module in vae.modules())
