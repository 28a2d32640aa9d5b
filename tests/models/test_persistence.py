"""Models on disk: what loading accepts, and that everything else is one clear error that changes nothing."""

import errno
import json
import os
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

import ppl_vae as pv
from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.models.persistence import restore
from ppl_vae.networks import MLP


@pytest.fixture
def stored(tmp_path):
    """A model and the folder that it was saved into."""
    vae = pv.VAE((4,), 2, network=MLP((3,)), seed=5)
    vae.save(tmp_path / "model")
    return vae, tmp_path / "model"


def test_folder_may_be_a_string_and_is_created(tmp_path):
    vae = pv.VAE((4,), 2)
    vae.save(str(tmp_path / "a" / "b"))
    assert pv.load(str(tmp_path / "a" / "b")).config == vae.config


def test_weights_file_holds_every_parameter_under_its_name(stored):
    vae, folder = stored
    tensors = load_file(folder / "weights.safetensors")
    assert tensors.keys() == vae.state_dict().keys()
    assert all(torch.equal(tensors[name], value) for name, value in vae.state_dict().items())


def test_configuration_is_readable_json(stored):
    config = json.loads((stored[1] / "config.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", config.pop("weights_sha256"))
    assert config == {
        "model": "vae",
        "event_shape": [4],
        "latent_dim": 2,
        "network": {"name": "mlp", "hidden": [3], "activation": "softplus"},
        "likelihood": {"name": "bernoulli"},
        "prior": {"name": "standard"},
        "posterior": {"name": "diagonal", "scale": "log-variance"},
    }


def test_saving_again_replaces_the_model(stored):
    _, folder = stored
    other = pv.VAE((4,), 2, network=MLP((3,)), seed=6)
    other.save(folder)
    assert torch.equal(pv.load(folder).state_dict()["model.decoder.0.weight"], other.model.decoder[0].weight)


def test_loading_leaves_the_global_generator_alone(stored):
    before = torch.get_rng_state()
    pv.load(stored[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_in_double_precision_comes_back_in_it(tmp_path):
    vae, x = pv.VAE((4,), 2).double(), torch.rand(3, 4, dtype=torch.float64)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(1e-10 * torch.randn_like(parameter))
    vae.save(tmp_path)
    loaded = pv.load(tmp_path)
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))
    assert loaded.sample(2).dtype == torch.float64


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_missing_file_is_named(stored, name):
    (stored[1] / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        pv.load(stored[1])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere.*no such file"):
        pv.load(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 50, 200, -1])
def test_truncated_weights_are_refused(stored, keep):
    path = stored[1] / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a readable safetensors file"):
        pv.load(stored[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "config.json: not a readable JSON file"),
        ('{"model": "vae",', "config.json: not a readable JSON file"),
        ("[1, 2]", "no field 'model'"),
        ("{}", "no field 'model'"),
        ('{"model": "vae"}', "config.json: not the configuration of a model"),
        ('{"model": "gan"}', "config.json: unknown kind of model 'gan'"),
        ('{"model": "vae", "event_shape": [4], "latent_dim": 2, "flows": 3}', "flows"),
        ('{"model": "linear-gaussian", "event_shape": [4]}', "config.json: not the configuration of a model"),
    ],
)
def test_corrupt_configurations_are_refused(stored, text, message):
    (stored[1] / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        pv.load(stored[1])


def test_bytes_that_are_no_text_are_refused(stored):
    (stored[1] / "config.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(CheckpointError, match=r"config\.json: not a readable JSON file"):
        pv.load(stored[1])


def test_weights_of_another_architecture_name_the_first_difference(stored, tmp_path):
    vae, folder = stored
    pv.VAE((4,), 2, network=MLP((7,))).save(tmp_path / "other")
    (tmp_path / "other" / "weights.safetensors").replace(folder / "weights.safetensors")
    first = next(iter(vae.state_dict()))
    with pytest.raises(
        ModelError, match=rf"another architecture: '{first}' has shape \[7, 2\], the model's has \[3, 2\]"
    ):
        pv.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("guide.posterior.loc_head.bias"), "the file lacks 'guide.posterior.loc_head.bias'"),
        (lambda s: s.update(extra=torch.zeros(1)), "the model has no 'extra'"),
        (
            lambda s: s.update({"guide.posterior.loc_head.bias": torch.zeros(3)}),
            r"'guide.posterior.loc_head.bias' has shape \[3\], the model's has \[2\]",
        ),
    ],
)
def test_nothing_is_changed_where_anything_differs(stored, tmp_path, change, message):
    state = {name: value + 1 for name, value in stored[0].state_dict().items()}
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    target = pv.VAE((4,), 2, network=MLP((3,)), seed=8)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        restore(target, load_file(tmp_path / "w.safetensors"), tmp_path / "w.safetensors")
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_a_full_disk_while_saving_leaves_the_old_model(stored, monkeypatch):
    _, folder = stored
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: could not be written.*No space left"):
        pv.VAE((4,), 2, network=MLP((3,)), seed=9).save(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
