"""Several Python threads: every number is the one that a thread alone gets, and nothing of the process moves."""

import os
import threading

import pyro
import pytest
import torch
from pyro.poutine.runtime import _PYRO_STACK

import ppl_vae as pv
from ppl_vae.exclusive import exclusive
from tests.inference.small_runs import small_data, small_vae, train

CALLS = {
    "fit": lambda seed: train(
        small_vae(seed), small_data(), epochs=2, seed=seed, compile=False
    ).history.loss.tolist(),
    "evaluate": lambda seed: pv.evaluate(small_vae(seed), small_data(), 3, seed=seed).elbo.tolist(),
    "log_evidence": lambda seed: pv.log_evidence(small_vae(seed), small_data(8), num_samples=64, seed=seed).mean,
    "importance": lambda seed: pv.diagnostics.run_importance(
        small_vae(seed), small_data(4), num_samples=100, seed=seed
    ).khat.values.tolist(),
    "compare": lambda seed: pv.compare_estimators(
        small_vae(seed), small_data(4), ["iwae", "dreg"], num_repeats=5, seed=seed, progress=False
    ).value.values.tolist(),
}


def flags():
    return (
        list(_PYRO_STACK), pyro.infer.util.is_validation_enabled(), torch.is_grad_enabled(),
        torch.get_num_threads(), torch.get_rng_state().tolist(),
    )  # fmt: skip


@pytest.mark.slow
def test_threads_get_the_numbers_that_one_alone_gets():
    jobs = [(name, seed) for name in CALLS for seed in (0, 1)]
    alone = {job: CALLS[job[0]](job[1]) for job in jobs}
    before, found = flags(), {}

    def work(own):
        for name, seed in own:
            try:
                found[name, seed] = CALLS[name](seed)
            except Exception as error:
                found[name, seed] = error

    threads = [threading.Thread(target=work, args=(jobs[part::3],)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert flags() == before


def test_a_call_inside_another_of_the_same_thread_does_not_wait():
    with exclusive(), exclusive():
        assert len(pv.evaluate(small_vae(), small_data(3)).elbo) == 3


def test_what_an_error_leaves_on_pyros_stack_is_taken_away():
    """As an interrupt does that falls into the clean-up of a handler."""
    before = flags()

    @exclusive()
    def interrupted():
        pyro.poutine.trace().__enter__()
        pyro.enable_validation(False)
        torch.set_grad_enabled(False)
        torch.rand(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert flags() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_another_thread_is_inside_has_a_lock_of_its_own():
    inside, done = threading.Event(), threading.Event()

    def hold():
        with exclusive():
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    child = os.fork()
    if child == 0:
        with exclusive():
            os._exit(7)
    done.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.slow
def test_a_thread_that_waits_long_says_so(monkeypatch):
    monkeypatch.setattr("ppl_vae.exclusive.SECONDS_UNTIL_SAID", 0.01)
    inside, done, caught = threading.Event(), threading.Event(), []

    def hold():
        with exclusive():
            inside.set()
            done.wait(30)

    def ask():
        with pytest.warns(UserWarning, match="one thread at a time") as record, exclusive():
            caught.extend(record)

    holder, asker = threading.Thread(target=hold), threading.Thread(target=ask)
    holder.start()
    assert inside.wait(30)
    asker.start()
    asker.join(0.3)
    done.set()
    holder.join(30)
    asker.join(30)
    assert len(caught) == 1
