"""Traced steps while another process compiles: the same draws, a change between two steps, no process left over."""

import contextlib
import json
import os
import signal

import pytest
import torch

from ppl_vae.inference.compilation import changeover, code_cache, elsewhere, inductor, step_choice
from ppl_vae.inference.compilation.changeover import Changeover
from ppl_vae.inference.compilation.elsewhere import ANOTHER_GRAPH, Elsewhere, can_compile_elsewhere, graph_of, order
from ppl_vae.inference.compilation.step_graph import trace
from ppl_vae.inference.training import loop
from ppl_vae.inference.training.batches import IndexedBatches
from tests.inference.small_runs import require_same, small_data, small_vae, train

needs_compiler = pytest.mark.skipif(inductor.missing_compiler() is not None, reason="no C++ compiler here")


def step(x, weight):
    low, place = x.min(dim=1)
    cells = torch.where(x > 0, x, -float("inf")).to(torch.float64).split([1, 2], dim=1)
    weight.add_(low.sum())
    return [cells[1].exp().sum(), place, torch.randn(3, dtype=torch.float32), x.sum((0, 1), keepdim=True)]


def graph():
    return trace(step, [torch.ones(4, 3)], [torch.ones(())])


def test_what_another_process_is_told_is_the_same_graph():
    here = graph()
    told = json.loads(order(here))
    there = graph_of(told)
    assert inductor.key_of(there) == told["key"] == inductor.key_of(here)
    assert there.num_given == here.num_given
    x = torch.randn(4, 3)
    results = []
    for each in (here, there):
        torch.manual_seed(0)
        each.inputs[1].fill_(2.0)
        results.append([*each(x), each.inputs[1].clone()])
    torch.testing.assert_close(*results, rtol=0.0, atol=0.0)


def test_what_cannot_be_told_is_compiled_here():
    here = trace(lambda x: x * 2j, [torch.ones(3)], [])
    with pytest.raises(TypeError, match="complex"):
        order(here)


def test_a_process_compiles_nothing_that_it_was_not_sent(monkeypatch):
    monkeypatch.setattr(inductor, "compiled", lambda graph: pytest.fail("compiled"))
    wrong = {**json.loads(order(graph())), "key": "f" * 64}
    assert elsewhere.main(json.dumps(wrong)) == ANOTHER_GRAPH


def test_nobody_compiles_elsewhere_without_a_core_or_a_place_or_what_is_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PPL_VAE_STEPS", str(tmp_path / "steps"))
    monkeypatch.setattr(elsewhere, "cores", lambda: 2)
    here = graph()
    assert can_compile_elsewhere(here)
    with monkeypatch.context() as alone:
        alone.setattr(elsewhere, "cores", lambda: 1)
        assert not can_compile_elsewhere(here)
    with monkeypatch.context() as closed:
        (tmp_path / "file").touch()
        closed.setenv("PPL_VAE_STEPS", str(tmp_path / "file"))
        assert not can_compile_elsewhere(here)
    code_cache.store(inductor.key_of(here), b"code")
    assert not can_compile_elsewhere(here)


class Noted:
    """Steps that note which steps they took, on how many data."""

    def __init__(self, name, notes):
        self.name, self.notes, self.parameters = name, notes, []

    def epoch(self, batches, first_step):
        for number, indices in enumerate(batches.indices, start=first_step):
            self.notes.append((self.name, number, len(indices)))
            yield [len(indices)], torch.zeros(1, 3)


class Ends:
    """A process that ends with a code after so many looks at it."""

    def __init__(self, looks, code):
        self.looks, self.code, self.closed = looks, code, False

    def ended(self):
        self.looks -= 1
        return self.code if self.looks < 0 else None

    def close(self):
        self.closed = True


def changing(looks, code=0, build=None):
    """The notes of two epochs of batches 4, 4, 4, 2, what was told, and the steps."""
    notes, told, process = [], [], Ends(looks, code)
    steps = Changeover(
        Noted("traced", notes),
        process,
        build or (lambda rest: Noted("compiled", notes)),
        lambda *t: told.append(t),
        4,
    )
    for epoch in range(2):
        batches = IndexedBatches(None, torch.zeros(14, 1), list(torch.arange(14).split(4)))
        assert sum(sizes[0] for sizes, _ in steps.epoch(batches, 4 * epoch)) == 14
    return notes, told, process, steps


@pytest.mark.parametrize(("looks", "change"), [(0, 1), (1, 2), (2, 5), (3, 5), (4, 5), (5, 6), (50, None)])
def test_compiled_steps_take_over_between_two_steps_before_a_whole_batch(looks, change):
    before = torch.get_num_threads()
    notes, told, process, steps = changing(looks)
    assert [number for _, number, _ in notes] == [*range(8)]
    assert [size for _, _, size in notes] == [4, 4, 4, 2] * 2
    taken_over = [number for name, number, _ in notes if name == "compiled"]
    assert taken_over == ([] if change is None else [*range(change, 8)])
    assert told == ([] if change is None else [(None, change)])
    assert process.closed == (change is not None)
    steps.close()
    assert process.closed
    assert torch.get_num_threads() == before


def test_traced_steps_go_on_where_the_process_failed_or_its_code_is_wrong():
    notes, told, _, _ = changing(0, code=-9)
    assert {name for name, *_ in notes} == {"traced"}
    assert told == [("the process that compiled them ended with code -9", 1)]

    def wrong(rest):
        raise RuntimeError("the captured step's numbers differ\nmuch")

    notes, told, _, _ = changing(0, build=wrong)
    assert {name for name, *_ in notes} == {"traced"}
    assert told == [("the captured step's numbers differ", 1)]


@pytest.fixture
def processes(monkeypatch, tmp_path):
    """The processes that compile, in runs that pay for it, with an empty cache."""
    monkeypatch.setenv("PPL_VAE_STEPS", str(tmp_path / "steps"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setattr(step_choice, "SECONDS_TO_COMPILE", 0.0)
    for module in (elsewhere, changeover):
        monkeypatch.setattr(module, "cores", lambda: 2)
    for name, empty in (("_compiled", {}), ("_loaded", set()), ("_distrusted", set())):
        monkeypatch.setattr(inductor, name, empty)
    begun = []

    class Kept(Elsewhere):
        def __init__(self, graph):
            super().__init__(graph)
            begun.append(self)

    monkeypatch.setattr(step_choice, "Elsewhere", Kept)
    return begun


@pytest.mark.parametrize("agree", [True, False])
def test_steps_that_no_longer_agree_with_the_programs_wait_for_nobody(monkeypatch, agree):
    process = Ends(10**9, 0)
    monkeypatch.setattr(step_choice, "SECONDS_TO_COMPILE", 0.0)
    monkeypatch.setattr(step_choice, "missing_compiler", lambda: None)
    monkeypatch.setattr(step_choice, "can_compile_elsewhere", lambda graph: True)
    monkeypatch.setattr(step_choice, "Elsewhere", lambda graph: process)
    monkeypatch.setattr(loop, "STEPS_BETWEEN", 4)
    monkeypatch.setattr(loop, "drifted", lambda steps, *_: None if agree else "they differ")
    seen = []
    with (
        contextlib.nullcontext()
        if agree
        else pytest.warns(UserWarning, match="the steps are eager from epoch 2 on")
    ):
        result = train(small_vae(), small_data(), callbacks=lambda row: seen.append(process.closed))
    assert result.manifest["compile"] == ("traced" if agree else "eager")
    assert seen == [False, not agree, not agree]
    assert process.closed
    require_same(result, train(small_vae(), small_data(), compile=False))


def until_ended(processes):
    def wait(row):
        if row["epoch"] == 2:
            processes[0]._process.wait()

    return wait


@needs_compiler
@pytest.mark.slow
def test_a_run_changes_to_compiled_steps_and_has_the_eager_runs_numbers(processes):
    changed = train(small_vae(), small_data(), epochs=6, callbacks=until_ended(processes))
    eager = train(small_vae(), small_data(), epochs=6, compile=False)
    assert processes[0].ended() == 0
    assert changed.manifest["compile"] == "compiled"
    assert "traced until step" in changed.manifest["compile_reason"]
    torch.testing.assert_close(changed.model.state_dict(), eager.model.state_dict(), rtol=1e-4, atol=1e-5)
    # To the last bit before the change.
    assert changed.history.loss[:2].tolist() == eager.history.loss[:2].tolist()
    assert changed.history.loss.tolist() == pytest.approx(eager.history.loss.tolist(), rel=1e-5)
    again = train(small_vae(), small_data(), epochs=6)
    assert len(processes) == 1
    assert again.manifest["compile"] == "compiled"
    assert "until" not in again.manifest["compile_reason"]


@needs_compiler
@pytest.mark.slow
def test_a_process_that_is_killed_leaves_the_run_to_traced_steps(processes):
    def kill(row):
        if row["epoch"] == 2:
            os.kill(processes[0].pid, signal.SIGKILL)
            processes[0]._process.wait()

    killed = train(small_vae(), small_data(), epochs=5, callbacks=kill)
    assert killed.manifest["compile"] == "traced"
    assert "ended with code -9" in killed.manifest["compile_reason"]
    assert not code_cache.entries()
    require_same(killed, train(small_vae(), small_data(), epochs=5, compile=False))


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("ends", ["early", "by an error"])
def test_no_process_outlives_the_run(processes, ends):
    before = torch.get_num_threads()

    def fail(row):
        assert is_there(processes[0].pid)
        assert ends == "early"

    if ends == "early":
        assert train(small_vae(), small_data(), epochs=1, callbacks=fail).manifest["compile"] == "traced"
    else:
        with pytest.raises(AssertionError):
            train(small_vae(), small_data(), epochs=1, callbacks=fail)
    assert not is_there(processes[0].pid)
    assert torch.get_num_threads() == before


@needs_compiler
@pytest.mark.slow
def test_a_run_that_promises_its_bytes_compiles_first(processes, tmp_path):
    assert train(small_vae(), small_data(), out_dir=tmp_path / "run").manifest["compile"] == "compiled"
    assert train(small_vae(), small_data(), compile=True).manifest["compile"] == "compiled"
    assert not processes
