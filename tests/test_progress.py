"""The line of long work: one output in a notebook, with the time left, and quiet where nobody watches."""

import sys
from types import SimpleNamespace

import pytest
import torch

import ppl_vae as pv
from ppl_vae import diagnostics, progress
from tests.inference.small_runs import small_dataset

LG = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
X = torch.zeros(4, 3)
WORK = {
    "fit": lambda **kw: pv.fit(pv.VAE((3,), latent_dim=1, likelihood="gaussian"), X, epochs=1, device="cpu", **kw),
    "log_evidence": lambda **kw: pv.log_evidence(LG, X, num_samples=30, **kw),
    "log_evidence by ais": lambda **kw: pv.log_evidence(LG, X, "ais", 2, num_temperatures=20, **kw),
    "compare_estimators": lambda **kw: pv.compare_estimators(LG, X, ["analytic-kl"], num_repeats=3, **kw),
    "run_reference": lambda **kw: diagnostics.run_reference(LG, X[:1], 20, 20, 2, **kw),
    "run_gaps": lambda **kw: diagnostics.run_gaps(LG, X, num_samples=10, num_steps=5, **kw),
    "diagnose": lambda **kw: pv.diagnose(LG, X, topics=["importance", "collapse"], effort=diagnostics.QUICK, **kw),
    "compare_recipes": lambda **kw: pv.compare_recipes(
        ["vae"], small_dataset("dynamic"), [0], epochs=1, device="cpu", **kw
    ),
}


@pytest.fixture
def notebook(monkeypatch):
    """Every state of every output that a kernel's front end would be given."""
    outputs = []

    def display(text, raw, display_id):
        outputs.append([text["text/plain"]])
        return SimpleNamespace(update=lambda text, raw: outputs[-1].append(text["text/plain"]))

    fake = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(config={"IPKernelApp": {}}),
        display=SimpleNamespace(display=display),
    )
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", fake.display)
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_long_work_is_one_line_in_a_notebook_and_ends_at_all_of_it(name, notebook, capfd):
    WORK[name]()
    (states,) = notebook
    assert states[-1].startswith("100%"), states[-1]
    assert "00:00" in states[-1] or "?" not in states[-1]
    assert "\n" not in "".join(states)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_long_work_is_quiet_where_nobody_watches_and_speaks_where_asked(name, capfd):
    WORK[name]()
    assert capfd.readouterr() == ("", "")
    WORK[name](progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%" in err.split("\r")[-1]
    assert err.count("100%") >= 1
    assert err.rstrip("\n").count("\n") == 0


def test_nothing_is_shown_in_a_notebook_where_it_is_not_wanted(notebook):
    WORK["log_evidence"](progress=False)
    assert notebook == []


def test_work_inside_work_does_not_count(capfd):
    with progress.watched(2, "part", True) as outer:
        with progress.watched(9, "step", True):
            progress.advance(5)
        progress.advance()
    assert outer.n == 1
    with progress.watched(2, "part", True, by_hand=True) as outer:
        progress.advance(5)
        outer.update()
    assert outer.n == 1
    assert "step" not in capfd.readouterr().err


def test_advance_outside_counts_nothing():
    progress.advance(3)


def test_the_time_left_is_told():
    line = progress.tqdm.format_meter(10, 40, 5.0, unit="step")
    assert "00:05<00:15" in line


@pytest.mark.slow
def test_import_is_silent_in_a_notebook(tmp_path):
    """tqdm.auto warns in a kernel without ipywidgets; nothing of ours imports it."""
    import ast
    from pathlib import Path

    for path in Path(pv.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.module in ("tqdm.auto", "tqdm.notebook")), path
