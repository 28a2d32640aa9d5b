"""Threads follow what other processes leave; weights are those of one thread; a run with a folder keeps its own."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.inference.training import compute, spare_threads
from tests.inference.small_runs import small_data, small_vae

CORES = 2


class Scripted:
    """Neighbours that take what a list says, from look to look; then the last."""

    taken, looks = [0.0], 0

    def seconds(self):
        return 5.0

    def cores_taken(self):
        found = self.taken[min(Scripted.looks, len(self.taken) - 1)]
        Scripted.looks += 1
        return found


@pytest.fixture
def neighbours(monkeypatch):
    def script(*taken):
        monkeypatch.setattr(Scripted, "taken", list(taken))
        monkeypatch.setattr(Scripted, "looks", 0)

    monkeypatch.setattr(compute, "cores", lambda: CORES)
    monkeypatch.setattr(compute, "SINGLE_THREAD_FLOPS", 1)
    monkeypatch.setattr(spare_threads, "Neighbours", Scripted)
    monkeypatch.setattr("ppl_vae.inference.fitting.fit.Neighbours", Scripted)
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    yield script
    torch.set_num_threads(before)


def fitted(**options):
    """The threads of every epoch, the manifest and the weights."""
    vae, threads = small_vae(), []
    result = pv.fit(
        vae,
        small_data(),
        epochs=6,
        batch_size=10,
        progress=False,
        callbacks=[lambda row: threads.append(torch.get_num_threads())],
        **options,
    )
    return threads, result.manifest, [p.detach().clone() for p in vae.parameters()]


def test_threads_give_way_when_a_neighbour_stays_and_come_back_when_it_goes(neighbours):
    neighbours(0.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    threads, manifest, weights = fitted(compile=False)
    assert threads == [2, 1, 1, 1, 2, 2]
    assert manifest["num_threads"] == 2
    assert manifest["num_threads_reason"] == "other processes took 0.0 of 2 cores by epoch 5"
    for ours, theirs in zip(weights, fitted(compile=False, num_threads=1)[2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_machine_code_is_made_for_the_new_number_while_traced_steps_go_on(neighbours):
    neighbours(0.0, 1.0)
    threads, manifest, weights = fitted(compile=True)
    assert threads == [2, *[1] * 5]
    assert manifest["compile"] in ("traced", "compiled")
    assert manifest["compile_reason"].startswith("compile=True; ")
    for ours, theirs in zip(weights, fitted(compile=False, num_threads=1)[2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_neighbour_of_one_look_changes_nothing(neighbours):
    neighbours(0.0, 1.0, 0.0, 1.0, 0.0)
    threads, manifest, _ = fitted(compile=False)
    assert threads == [2] * 6
    assert manifest["num_threads_reason"] == "torch's own number"


def test_a_neighbour_at_the_beginning_is_given_way_at_once(neighbours):
    neighbours(1.0)
    threads, manifest, _ = fitted(compile=False)
    assert threads == [1] * 6
    assert manifest["num_threads_reason"] == "other processes took 1.0 of 2 cores when the run began"


@pytest.mark.parametrize("number", [None, 2])
def test_a_run_that_promises_its_bytes_or_was_told_a_number_keeps_it(neighbours, number, tmp_path):
    neighbours(1.0)
    where = {"out_dir": tmp_path / "run"} if number is None else {"num_threads": number}
    threads, manifest, _ = fitted(compile=False, **where)
    assert threads == [2] * 6
    assert manifest["num_threads"] == 2


def test_long_epochs_are_looked_at_within(neighbours, monkeypatch):
    monkeypatch.setattr(spare_threads, "STEPS_A_LOOK", 1)
    neighbours(0.0, 1.0, 1.0)
    threads, manifest, _ = fitted(compile=False)
    assert threads == [1] * 6
    assert manifest["num_threads_reason"] == "other processes took 1.0 of 2 cores by epoch 1"
