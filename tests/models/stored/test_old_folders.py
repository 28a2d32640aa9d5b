"""Folders of version 0.1.0, without checksums, written by its own code: a model, and a run to go on with."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors
import torch
from packaging.version import Version
from safetensors.torch import load_file, save_file

import ppl_vae as pv
from ppl_vae.errors import CheckpointError

OLD = Path(__file__).parents[2] / "stored"
X = torch.tensor(
    [[0.0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]
)  # fmt: skip
SETTINGS = {
    "batch_size": 3, "lr": 0.1, "progress": False, "compile": False, "device": "cpu", "num_threads": 1,
}  # fmt: skip


def new():
    return pv.VAE((4,), 1, network="linear", seed=3)


def test_a_model_comes_back():
    loaded, made = pv.load(OLD / "model"), new()
    assert loaded.config == made.config
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in made.state_dict().items())


def test_the_numbers_of_a_run_are_those_that_it_had():
    """As that version printed them when it made the folder."""
    found = pv.evaluate(pv.load(OLD / "run"), X).summary()
    assert found["elbo"] == pytest.approx(-3.1853866577148438, abs=1e-5)
    assert found["kl"] == pytest.approx(0.15664900839328766, abs=1e-5)


def test_a_model_is_saved_anew_with_checksums(tmp_path):
    shutil.copytree(OLD / "model", tmp_path / "model")
    pv.load(tmp_path / "model").save(tmp_path / "model")
    assert "weights_sha256" in json.loads((tmp_path / "model" / "config.json").read_text())
    assert torch.equal(pv.load(tmp_path / "model").model.decoder.weight, new().model.decoder.weight)


def _everything(kind):
    return lambda state: {name: value.to(kind) for name, value in state.items()}


def _first(value):
    def change(state):
        name = next(iter(state))
        state[name].view(-1)[0] = value
        return state

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_first(float("nan")), "1 of .* numbers that are not finite"),
        (_first(float("inf")), "1 of .* numbers that are not finite"),
        (_everything(torch.int8), "holds numbers of type int8, expected float32"),
        (_everything(torch.bool), "holds numbers of type bool, expected float32"),
        (_everything(torch.complex64), "holds numbers of type complex64, expected float32"),
        (
            lambda state: {**state, "model.decoder.bias": state["model.decoder.bias"].half()},
            "type float32, expected",
        ),
    ],
)
def test_without_a_checksum_types_and_finiteness_are_judged_all_the_same(tmp_path, change, message):
    shutil.copytree(OLD / "model", tmp_path / "model")
    path = tmp_path / "model" / "weights.safetensors"
    changed = change(load_file(path))
    if changed["model.decoder.bias"].is_complex() and Version(safetensors.__version__) < Version("0.6"):
        pytest.skip("this safetensors writes no complex numbers")
    save_file(changed, path)
    with pytest.raises(CheckpointError, match=message):
        pv.load(tmp_path / "model")


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_one_precision_of_all_tensors_is_the_models(tmp_path, kind):
    shutil.copytree(OLD / "model", tmp_path / "model")
    path = tmp_path / "model" / "weights.safetensors"
    save_file(_everything(kind)(load_file(path)), path)
    assert {value.dtype for value in pv.load(tmp_path / "model").state_dict().values()} == {kind}
