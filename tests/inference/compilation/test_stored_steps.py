"""A step compiled once is found again: by the same numbers, without Inductor; and what is found is not believed."""

import subprocess
import sys

import pytest
import torch

from ppl_vae.files import write_atomically
from ppl_vae.inference.compilation import code_cache, inductor, step_choice
from ppl_vae.inference.compilation.step_choice import choose
from ppl_vae.inference.compilation.step_graph import trace
from tests.inference.small_runs import require_same, small_data, small_vae, train

needs_compiler = pytest.mark.skipif(inductor.missing_compiler() is not None, reason="no C++ compiler here")


def refuse(*_):
    raise AssertionError("compiled anew")


@pytest.fixture(scope="module")
def compiled_run():
    """A compiled run, whose step is in the cache from then on."""
    before = len(code_cache.entries())
    result = train(small_vae(), small_data(), compile=True)
    assert result.manifest["compile"] == "compiled"
    assert len(code_cache.entries()) >= max(before, 1)
    return result


@pytest.fixture
def _new_process(monkeypatch):
    """What a process knows of compiled steps when it begins; the cache is left as it was."""
    monkeypatch.setattr(inductor, "_compiled", {})
    monkeypatch.setattr(inductor, "_loaded", set())
    monkeypatch.setattr(inductor, "_distrusted", set())
    before = {path: path.read_bytes() for path, _ in code_cache.entries()}
    yield
    for path, content in before.items():
        # A new file in its place: what is written into one that is loaded is written into this process.
        write_atomically(path, content)


@pytest.mark.slow
@needs_compiler
@pytest.mark.usefixtures("_new_process")
def test_a_kept_step_gives_the_same_run_without_inductor(compiled_run, monkeypatch):
    monkeypatch.setattr(inductor, "_translated", refuse)
    again = train(small_vae(), small_data(), compile=True)
    assert again.manifest["compile"] == "compiled"
    require_same(again, compiled_run)


@pytest.mark.slow
@needs_compiler
@pytest.mark.usefixtures("_new_process")
def test_a_kept_step_that_computes_something_else_is_dropped_and_made_anew(compiled_run, monkeypatch):
    good, tried = {}, []

    def wrong(key):
        tried.append(key)
        inductor._loaded.add(key)
        good[key] = load(key)

        def call(inputs):
            return [2 * part for part in good[key](inputs)]

        return call

    load = inductor._from_cache
    monkeypatch.setattr(inductor, "_from_cache", wrong)
    monkeypatch.setattr(inductor, "_translated", lambda graph, key: good[key])
    again = train(small_vae(), small_data(), compile=True)
    # What proved wrong is not loaded again, whoever writes it there.
    assert len(tried) == 1
    assert again.manifest["compile"] == "compiled"
    require_same(again, compiled_run)
    assert code_cache.stored(tried[0]) is None


def test_what_cannot_be_loaded_is_dropped():
    code_cache.store("f" * 64, b"no shared object")
    assert inductor._from_cache("f" * 64) is None
    assert code_cache.stored("f" * 64) is None


def key_of(function, *inputs):
    return inductor.key_of(trace(function, inputs, []))


def test_the_key_tells_graphs_shapes_strides_and_dtypes_apart():
    x = torch.ones(4, 3)
    keys = [
        key_of(torch.exp, x),
        key_of(torch.sin, x),
        key_of(torch.exp, x[:2]),
        key_of(torch.exp, torch.ones(3, 4).T),
        key_of(torch.exp, x.double()),
        key_of(lambda t: torch.exp(t) * 2.0, x),
        key_of(lambda t: torch.exp(t) * 2.5, x),
    ]
    assert len({*keys}) == len(keys)
    assert keys[0] == key_of(torch.exp, x + 1)


@pytest.mark.parametrize("fact", ["options", "compiler", "processor", "threads"])
def test_the_key_tells_machines_apart(fact, monkeypatch):
    x = torch.ones(3)
    before = key_of(torch.exp, x)
    inductor.machine.described.cache_clear()
    if fact == "options":
        monkeypatch.setattr(inductor, "OPTIONS", {**inductor.OPTIONS, "size_asserts": True})
    elif fact == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 17)
    else:
        monkeypatch.setattr(inductor.machine, f"_{fact}", lambda: "another")
    assert key_of(torch.exp, x) != before
    inductor.machine.described.cache_clear()


def test_a_compiler_older_than_the_processor_gets_plainer_code(monkeypatch):
    asked = []

    def compile_(program, inputs, mode, options=inductor.OPTIONS):
        asked.append(options.get("cpp.simdlen"))
        if len(asked) == 1:
            raise RuntimeError("InductorError: CppCompileError: C++ compile error\n\nCommand: g++ -mamx-tile")
        return lambda inputs: inputs

    monkeypatch.setattr(inductor, "_compile", compile_)
    inductor._translated(trace(torch.exp, [torch.ones(3)], []), "key")
    assert asked == [None, 256]

    def broken(*_):
        raise RuntimeError("another fault")

    monkeypatch.setattr(inductor, "_compile", broken)
    with pytest.raises(RuntimeError, match="another fault"):
        inductor._translated(trace(torch.exp, [torch.ones(3)], []), "key")


def test_auto_counts_on_code_that_is_kept(monkeypatch):
    monkeypatch.setattr(step_choice, "missing_compiler", lambda: None)
    # Two epochs of MNIST: 938 steps of 5e8 operations.
    assert choose("auto", 938, 5 * 10**8, lambda: False).mode == "traced"
    kept = choose("auto", 938, 5 * 10**8, lambda: True)
    assert kept.mode == "compiled"
    assert "machine code of such a step is kept" in kept.reason
    assert choose("auto", 100, 10**6, refuse).mode == "eager"


@pytest.mark.slow
@needs_compiler
@pytest.mark.usefixtures("compiled_run", "_new_process")
def test_auto_compiles_what_was_compiled_before(monkeypatch):
    """The first two runs differ by what is asked for, the third by what the second has left."""
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    assert train(small_vae(), small_data()).manifest["compile"] == "traced"
    train(small_vae(), small_data(), compile=True)
    result = train(small_vae(), small_data())
    assert result.manifest["compile"] == "compiled"
    monkeypatch.setenv("PPL_VAE_STEPS", "/nonexistent")
    assert train(small_vae(), small_data()).manifest["compile"] == "traced"


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.usefixtures("_new_process")
def test_auto_compiles_nothing_on_the_word_of_a_note(monkeypatch, optimizer):
    """A note is of steps like this one: their code may be another, or gone."""
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    monkeypatch.setattr(code_cache, "is_noted", lambda likeness: True)
    monkeypatch.setattr(step_choice, "missing_compiler", lambda: None)
    monkeypatch.setattr(inductor, "_translated", refuse)
    result = train(small_vae(), small_data(37), optimizer=optimizer)
    assert result.manifest["compile"] == "traced"
    assert "no machine code of this very step is kept" in result.manifest["compile_reason"]


# The step of convolutions has an operation of ours, which a new process has not defined.
PAIRS = {
    "mlp": "small_vae(), small_data()",
    "conv": "pv.VAE((1, 8, 8), 2, 'conv', seed=0), torch.ones(40, 1, 8, 8)",
}


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_another_process_needs_neither_inductor_nor_the_compiler(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("PPL_VAE_STEPS", str(tmp_path / "steps"))
    code = f"""
import sys
import torch
import ppl_vae as pv
from tests.inference.small_runs import small_data, small_vae, train
result = train({PAIRS[pair]}, compile=True)
print(result.manifest["compile"], result.history.loss.tolist(), "torch._dynamo" in sys.modules)
"""
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert told[0][:-1] == told[1][:-1]
    assert (told[0][0], told[0][-1], told[1][-1]) == ("compiled", "True", "False")
