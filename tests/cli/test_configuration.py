"""Options of a command as a file: YAML, JSON, and the manifest of a run, which can be run again."""

import json

import pytest

from tests.cli.test_cli import call

SMALL = ("--epochs", "1", "--latent-dim", "2", "--no-figures", "--quiet", "--device", "cpu", "--set", "beta=2")


@pytest.mark.slow
def test_what_the_manifest_holds_can_be_run_again(tmp_path, capsys):
    first, again, other = tmp_path / "first", tmp_path / "again", tmp_path / "other"
    assert call("train", "beta-vae", *SMALL, "--lr", "0.01", "--out", first) == 0
    command = json.loads((first / "manifest.json").read_text())["command"]
    assert command["recipe"] == "beta-vae"
    assert command["set"] == ["beta=2"]
    assert call("train", "--config", first / "manifest.json", "--no-figures", "--quiet", "--out", again) == 0
    assert (again / "weights.safetensors").read_bytes() == (first / "weights.safetensors").read_bytes()
    assert json.loads((again / "manifest.json").read_text())["command"] == command
    # What is typed has the last word.
    typed = ("--seed", "3", "--no-figures", "--quiet", "--out", other)
    assert call("train", "--config", first / "manifest.json", *typed) == 0
    assert json.loads((other / "manifest.json").read_text())["seed"] == 3


@pytest.mark.slow
def test_yaml_is_read_by_the_names_of_options(tmp_path):
    pytest.importorskip("yaml")
    path = tmp_path / "run.yaml"
    path.write_text(
        "recipe: beta-vae\ndata: digits\nlatent-dim: 2\nepochs: 1\nset:\n  beta: 2\ndevice: cpu\n"
        "likelihood: {name: gaussian, sigma: 0.5}\nno-figures: true\nquiet: true\n"
    )
    assert call("train", "--config", path, "--out", tmp_path / "run") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["likelihood"]["sigma"] == 0.5
    assert config["latent_dim"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"recipe": "vae", "latent-dims": 2}', "unknown option 'latent-dims'; did you mean 'latent_dim'"),
        ("[1, 2]", "expected options by their names"),
        ('{"versions": {}}', "has no field 'command'"),
        ('{"recipe": "vae", "epochs": "many"}', "many"),
    ],
)
def test_what_is_no_configuration_is_refused(content, message, tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(content)
    assert call("train", "--config", path) == 2
    assert message in capsys.readouterr().err
