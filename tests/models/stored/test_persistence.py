"""Models on disk: what loading accepts, and that everything else is one clear error that changes nothing."""

import errno
import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ppl_vae as pv
from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.models.stored.persistence import restore
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


# One save, one pair of files -------------------------------------------------------------------------


def killed(*_):
    """What stands for a kill: nothing catches it, and nothing is tidied up."""
    os._exit(9)


def save_and_be_killed(vae, folder, rename):
    """Save in a process that ends before the rename of that number."""
    child = os.fork()
    if child == 0:
        replace, renamed = Path.replace, []

        def count(self, target):
            if len(renamed) == rename:
                killed()
            renamed.append(target)
            return replace(self, target)

        Path.replace = count
        vae.save(folder)
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("rename", "seed"), [(0, 5), (1, 9)])
@pytest.mark.parametrize("units", [3, 7])
def test_a_save_killed_at_a_rename_leaves_one_whole_model(stored, rename, seed, units):
    """The old one before the first rename and the new one after it, of the same architecture or of another."""
    _, folder = stored
    new = pv.VAE((4,), 2, network=MLP((units,), "relu"), seed=9)
    save_and_be_killed(new, folder, rename)
    expected = new if seed == 9 else stored[0]
    loaded = pv.load(folder)
    assert loaded.config == expected.config
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in expected.state_dict().items())
    # The next save tidies up.
    stored[0].save(folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "weights.safetensors"}


@pytest.mark.parametrize("content", ['{"my": "settings"}', "[1, 2]"])
def test_a_configuration_of_somebody_elses_is_not_written_over(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json: of no model of ours; nothing was touched"):
        pv.VAE((4,), 2, network=MLP((3,))).save(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.json", content)]


@pytest.mark.slow
def test_a_save_killed_after_one_that_was_killed_leaves_the_model_that_loaded(stored):
    _, folder = stored
    new = pv.VAE((4,), 2, network=MLP((7,), "relu"), seed=9)
    save_and_be_killed(new, folder, 1)
    save_and_be_killed(pv.VAE((4,), 2, network=MLP((5,)), seed=11), folder, 0)
    loaded = pv.load(folder)
    assert loaded.config == new.config
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in new.state_dict().items())


def test_ctrl_c_between_the_two_renames_leaves_the_new_model_and_no_rubbish(stored, monkeypatch):
    _, folder = stored
    new = pv.VAE((4,), 2, network=MLP((7,), "relu"), seed=9)
    replace, renamed = Path.replace, []

    def interrupted(self, target):
        renamed.append(target)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new.save(folder)
    assert pv.load(folder).config == new.config
    assert {path.name for path in folder.iterdir()} == {"config.json", "weights.safetensors"}


def other_weights(folder):
    pv.VAE((4,), 2, network=MLP((3,)), seed=9).save(folder.parent / "other")
    shutil.copy(folder.parent / "other" / "weights.safetensors", folder)


def changed_payload(change):
    def damage(folder):
        path = folder / "weights.safetensors"
        content = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(content[:8], "little")
        content[start:] = change(content[start:])
        path.write_bytes(content)

    return damage


def flipped(bit):
    return changed_payload(lambda payload: payload[:3] + bytes([payload[3] ^ 1 << bit]) + payload[4:])


def edited(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace("log-variance", "log-scale"))


def by_another_program(folder):
    path = folder / "weights.safetensors"
    save_file(load_file(path), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_weights, "not the weights that config.json was saved with"),
        (by_another_program, "not the weights that config.json was saved with"),
        (edited, "changed after the model was saved: 'posterior' is"),
        (flipped(6), "its checksum .* is not that of its content"),
        (flipped(0), "its checksum .* is not that of its content"),
        (changed_payload(lambda payload: bytes(len(payload))), "its checksum .* is not that of its content"),
    ],
)
def test_files_that_are_not_of_one_save_are_refused(stored, damage, message):
    damage(stored[1])
    with pytest.raises(CheckpointError, match=message):
        pv.load(stored[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_could_not_be_used_again_is_not_saved(stored, value):
    vae, folder = stored
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with torch.no_grad():
        vae.model.decoder[0].bias[1] = value
    with pytest.raises(ModelError, match=r"not saved: 'model\.decoder\.0\.bias' has 1 of 3 numbers"):
        vae.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class Masked(torch.nn.Module):
    """A user's encoder with a mask of infinities, which is no fault."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.register_buffer("mask", torch.tensor([0.0, -math.inf, 0.0, 0.0]))

    def forward(self, x):
        return self.layer(x * self.mask.isfinite())


def test_an_infinite_buffer_of_the_users_is_no_fault(tmp_path):
    parts = Masked(), torch.nn.Linear(2, 4)
    pv.VAE((4,), 2, network=parts).save(tmp_path)
    loaded = pv.load(tmp_path, network=(Masked(), torch.nn.Linear(2, 4)))
    assert torch.equal(loaded.guide.encoder.layer.weight, parts[0].layer.weight)
    assert loaded.guide.encoder.mask[1] == -math.inf


def test_saving_twice_gives_the_same_bytes(stored, tmp_path):
    vae, folder = stored
    vae.save(tmp_path / "again")
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
