"""What a compilation does without is there again after it; parts of a library are built at the same time."""

import contextlib
import gc
import importlib
import threading

import pytest
import torch
from torch._inductor import codecache
from torch._inductor.cpu_vec_isa import VecISA
from torch._inductor.dtype_propagation import DtypePropagationOpsHandler

from ppl_vae.inference.compilation.short_builds import short_builds


@pytest.mark.parametrize("collects", [True, False])
def test_all_is_as_it_was_after_a_compilation_that_failed(collects):
    before = codecache._worker_compile_cpp, VecISA.check_build
    was = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        with contextlib.suppress(RuntimeError), short_builds():
            assert not gc.isenabled()
            assert codecache._worker_compile_cpp is not before[0]
            raise RuntimeError("no such kernel")
        assert gc.isenabled() == collects
    finally:
        (gc.enable if was else gc.disable)()
    assert before == (codecache._worker_compile_cpp, VecISA.check_build)


def test_rules_of_types_are_written_down_once():
    """torch has one object of them, and fills it again wherever somebody asks for it."""
    importlib.import_module("torch._inductor.lowering")
    before = DtypePropagationOpsHandler.__init__
    with short_builds():
        rules = DtypePropagationOpsHandler()
        kept = vars(rules)["add"]
        assert vars(DtypePropagationOpsHandler())["add"] is kept
    assert DtypePropagationOpsHandler.__init__ is before
    assert vars(DtypePropagationOpsHandler())["add"] is not kept


@pytest.mark.parametrize("loads", [True, False])
def test_what_the_compiler_leaves_when_it_is_loaded_counts_as_old(loads, monkeypatch):
    """Python would else search two million objects at once, which stay."""
    monkeypatch.setattr("ppl_vae.inference.compilation.short_builds.COMPILER", "no.such" if loads else "torch")
    with short_builds():
        made = [[] for _ in range(1000)]
    young = {id(each) for generation in (0, 1) for each in gc.get_objects(generation)}
    assert any(id(each) in young for each in made) != loads


class Builder:
    """Makes a file; parts wait for one another, the library for nobody."""

    def __init__(self, path, meeting=None):
        self.path, self.meeting, self.built = path, meeting, 0

    def get_target_file_path(self):
        return str(self.path)

    def build(self):
        if self.meeting is not None:
            self.meeting.wait(10)
        self.built += 1
        self.path.write_text("built")


def test_parts_are_built_at_the_same_time_and_once(tmp_path):
    meeting = threading.Barrier(2)
    parts = [Builder(tmp_path / name, meeting) for name in ("main.o", "kernels.o")]
    library = Builder(tmp_path / "step.so")
    with short_builds():
        for _ in range(2):
            codecache._worker_compile_cpp(str(tmp_path / "lock"), [*parts, library])
    assert [each.built for each in (*parts, library)] == [1, 1, 1]


def test_a_library_of_one_part_is_built(tmp_path):
    alone = Builder(tmp_path / "step.so")
    with short_builds():
        codecache._worker_compile_cpp(str(tmp_path / "lock"), (alone,))
    assert alone.built == 1


def test_a_part_that_cannot_be_built_is_an_error(tmp_path):
    class Broken(Builder):
        def build(self):
            raise torch._inductor.exc.CppCompileError(["g++"], "no such header")

    with short_builds(), pytest.raises(torch._inductor.exc.CppCompileError):
        codecache._worker_compile_cpp(str(tmp_path / "lock"), [Broken(tmp_path / "a"), Builder(tmp_path / "b")])
