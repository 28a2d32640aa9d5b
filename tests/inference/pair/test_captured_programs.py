"""The law of the table in captured training: every user's program that can be fitted takes the eager steps.

A traced step replays the eager one's kernels on the same draws, so that its losses are the same to 1e-6; a compiled
one differs by rounding, which three steps of Adam at 1e-2 enlarge: 1e-4.
"""

import math
import warnings

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.inference.compilation import step_choice
from tests.inference.pair.two_level_programs import TWO_LEVELS
from tests.inference.pair.user_programs import PROGRAMS as ONE_LEVEL

pytestmark = pytest.mark.usefixtures("one_thread")

PROGRAMS = {**ONE_LEVEL, **TWO_LEVELS}
FITTED = [name for name, row in PROGRAMS.items() if "fit" not in row.refused]
#: A program of each kind: these are compiled to machine code too, and traced in every run of the tests.
OF_EACH_KIND = [
    "plain", "Categorical", "Gamma and integer counts", "flow without an inverse", "AutoNormal", "masked rows",
    "straight-through", "global first", "groups", "data plate at -2", "AutoDiagonalNormal beside an encoder",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_parameters_left():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def losses(name, mode, monkeypatch):
    """Of three steps on all data, and how they were taken."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    row = PROGRAMS[name]
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    monkeypatch.setattr(step_choice, "SECONDS_TO_COMPILE", math.inf)
    compile = {"eager": False, "traced": "auto", "compiled": True}[mode]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = row.make()
        result = pv.fit(
            pair, row.x, inf.get_elbo(row.estimator, num_particles=2), epochs=3, lr=1e-2, compile=compile,
            device="cpu", progress=False,
        )  # fmt: skip
    return torch.tensor(result.history["loss"].to_numpy(copy=True)), result.manifest


def require_same_losses(name, mode, tolerance, monkeypatch):
    eager, _ = losses(name, "eager", monkeypatch)
    captured, manifest = losses(name, mode, monkeypatch)
    assert manifest["compile"] == mode, manifest["compile_reason"]
    torch.testing.assert_close(captured, eager, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in OF_EACH_KIND else pytest.mark.slow) for name in FITTED]
)
def test_traced_steps_are_the_programs_own(name, monkeypatch):
    require_same_losses(name, "traced", 1e-6, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_compiled_steps_are_the_programs_own_to_rounding(name, monkeypatch):
    require_same_losses(name, "compiled", 1e-4, monkeypatch)
