import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.inference.training import compute, neighbours
from ppl_vae.inference.training.neighbours import Neighbours
from tests.inference.small_runs import small_data, small_vae, train


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert compute.resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert compute.resolve_device("auto").type == "cuda"
    with pytest.raises(ModelError, match="'cuda:3' was asked for, but there are 1"):
        compute.resolve_device("cuda:3")
    for name in ("meta", "mps"):
        with pytest.raises(ModelError, match=f"device '{name}' is not supported"):
            compute.resolve_device(name)


def test_more_threads_than_any_machine_has_are_refused():
    """torch.set_num_threads(10**6) ends the process at the next product of matrices."""
    with pytest.raises(ModelError, match="num_threads must be at most 1024, got 1000000"):
        train(small_vae(), small_data(), num_threads=10**6)


def test_a_device_may_be_a_name_or_a_device():
    assert compute.resolve_device("cpu") == compute.resolve_device(torch.device("cpu")) == torch.device("cpu")


def test_unknown_and_absent_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="'cuda:1' was asked for, but torch sees no CUDA device"):
        compute.resolve_device("cuda:1")
    with pytest.raises(ModelError, match="device 'tpu9' is unknown"):
        compute.resolve_device("tpu9")


def product(size):
    def run():
        return torch.ones(size, size) @ torch.ones(size, size)

    return run


def test_threads_are_chosen_by_the_size_of_a_step(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    # A product of two [n, n] matrices is 2 n^3 operations, and a step about three such passes.
    assert compute.threads_for(compute.step_flops(product(250))) == 1
    assert compute.threads_for(compute.step_flops(product(260))) == 7


class Taking(Neighbours):
    def __init__(self, taken):
        self.taken = taken

    def cores_taken(self):
        return self.taken


@pytest.mark.parametrize(("taken", "number"), [(0.0, 4), (0.4, 4), (1.0, 3), (2.6, 1), (4.0, 1), (9.0, 1)], ids=str)
def test_threads_give_way_to_other_processes(taken, number, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(compute, "cores", lambda: 4)
    large = compute.SINGLE_THREAD_FLOPS
    found, reason = compute.choose_threads("spare", large, Taking(taken))
    assert found == number
    told = f"other processes took {taken:.1f} of 4 cores when the run began"
    assert reason == ("torch's own number" if number == 4 else told)
    assert compute.choose_threads(3, large, Taking(taken))[0] == 3
    assert compute.choose_threads("spare", large - 1, Taking(taken))[0] == 1
    assert compute.choose_threads(None, large, Taking(taken))[0] == 4


def test_neighbours_are_counted_and_the_process_itself_is_not(monkeypatch, tmp_path):
    counts, clock = tmp_path / "stat", {"own": 1.0, "now": 10.0}
    monkeypatch.setattr(neighbours, "KERNEL_COUNTS", counts)
    monkeypatch.setattr(neighbours, "_allowed", lambda: {0, 1})
    monkeypatch.setattr(neighbours.os, "sysconf", lambda _: 100)
    monkeypatch.setattr(neighbours.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(neighbours.time, "process_time", lambda: clock["own"])
    counts.write_text("cpu 9 9 9 9 9 9 9\ncpu0 100 0 50 900 0 0 0\ncpu1 300 0 0 0 0 0 0\ncpu2 0 0 0 0 0 0 0\n")
    counting = Neighbours()
    # In two seconds core 0 was busy for one and a half, core 1 for two; one second of these is our own.
    counts.write_text("cpu 9 9 9 9 9 9 9\ncpu0 200 10 90 950 7 0 0\ncpu1 450 0 0 0 0 30 20\ncpu2 999 0 0 0 0 0 0\n")
    clock.update(own=2.0, now=12.0)
    assert counting.cores_taken() == pytest.approx((1.5 + 2.0 - 1.0) / 2)


def test_where_nothing_is_counted_nobody_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(neighbours, "KERNEL_COUNTS", tmp_path / "missing")
    assert Neighbours().cores_taken() == 0.0


def test_the_manifest_says_how_many_threads_and_why():
    manifest = train(small_vae(), small_data(), epochs=1, num_threads=None).manifest
    assert manifest["num_threads_reason"] == "one thread is enough for such steps, or torch has one"


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()

    def compute_and_fail():
        with compute.threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        compute_and_fail()
    assert torch.get_num_threads() == before


def test_a_small_model_is_trained_on_one_thread():
    assert train(small_vae(), small_data(), epochs=1, num_threads=None).manifest["num_threads"] == 1


def test_the_choice_of_threads_is_a_rule_and_changes_no_number():
    chosen = train(small_vae(), small_data(), num_threads=None)
    given = train(small_vae(), small_data(), num_threads=chosen.manifest["num_threads"])
    assert chosen.history["loss"].tolist() == given.history["loss"].tolist()


@pytest.mark.gpu
def test_trains_on_cuda_from_every_form_of_data():
    for data in (small_data(), small_data().numpy(), list(small_data().split(16))):
        vae = small_vae()
        result = pv.fit(vae, data, epochs=2, batch_size=16, progress=False)
        assert next(vae.parameters()).device.type == "cuda"
        assert result.manifest["device"].startswith("cuda: ")
