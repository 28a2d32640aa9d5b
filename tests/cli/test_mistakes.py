"""One line and exit code 2 for what a user can get wrong; nothing of the user's own is written over."""

import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ppl_vae as pv
from ppl_vae.checks import require_memory
from ppl_vae.cli import main
from ppl_vae.cli.console import one_line
from ppl_vae.errors import ModelError

NETWORK = ("--network", '{"name": "mlp", "hidden": [4]}')
TRAIN = ("train", "vae", "--epochs", 1, "--latent-dim", 2, *NETWORK, "--quiet", "--no-figures", "--compile", "no")


def call(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    return left.value.code


def complaint(capsys):
    """The one line on stderr."""
    err = capsys.readouterr().err
    assert err.startswith("ppl-vae: ")
    assert err.count("\n") == 1, err
    return err.rstrip("\n")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "d.npz"
    np.savez(path, x=np.random.default_rng(0).random((40, 5, 5)).astype("f4"))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert call(*TRAIN, "--data", images, "--out", folder) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data-option", "root=/x"), "root is settled by --root"),
        (("--data-option", "name=/x"), "name is settled by --data"),
        (("--data-option", "binarize=none"), "binarize is settled by --binarize"),
        (("--data-option", "seed=abc"), "seed must be an integer"),
        (("--set", "event_shape=[1]"), "event_shape is settled by the shape of --data"),
        (("--set", "name=vae"), "name is settled by the argument RECIPE"),
        (("--set", "data=3"), "data is settled by --data"),
        (("--latent-dim", 10**9), "GiB of memory, and this machine has"),
        (("--data", "sprites", "--data-option", "n=1000000000"), "sprites: n=1000000000 needs"),
        (("--data", "faces", "--data-option", "n=1000000000"), "faces: n=1000000000 needs"),
        (("--data", "piano-rolls", "--data-option", "n=10000000000"), "n=10000000000, num_frames=16 needs"),
    ],
)
def test_what_was_settled_or_cannot_be(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert call(*TRAIN, *options) == 2
    assert message in complaint(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["event_shape=[1]", "name=vae", "data=3", "seed=4"])
def test_options_of_compared_recipes_that_are_settled(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    assert call("compare-recipes", f"vae:{option}") == 2
    assert "is settled by" in complaint(capsys)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("sample", "-n", 10**9), "a picture shows at most 10000"),
        (("sample", "-n", 10**12, "--out", "x.npy"), "-n 1000000000000 needs"),
        (("evaluate", "--num-particles", 10**11), "--num-particles 100000000000 needs"),
        (("compare", "--num-particles", 10**11), "--num-particles 100000000000 needs"),
        (("compare", "--repeats", 10**11), "Invalid value for '--repeats'"),
    ],
)
def test_absurd_numbers_of_draws(run, monkeypatch, capsys, args, message):
    monkeypatch.chdir(run)
    command, *options = args
    assert call(command, run, *options) == 2
    assert message in complaint(capsys)


def test_memory_is_that_of_the_machine():
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    require_memory("all of it", there)
    with pytest.raises(ModelError, match=f"more needs at least {(there + 2**30) / 2**30:,.0f} GiB"):
        require_memory("more", there + 2**30)


def test_samples_in_chunks_are_as_many_as_asked_for(run, tmp_path):
    assert call("sample", run, "-n", 5000, "--out", tmp_path / "x.npy") == 0
    drawn = np.load(tmp_path / "x.npy")
    assert drawn.shape == (5000, 1, 5, 5)
    # No chunk repeats another.
    assert len(np.unique(drawn.reshape(5000, -1), axis=0)) == 5000


MINE = {"data.json": '{"my": "precious data"}', "metrics.json": '{"my": "metrics"}', "figures/samples.png": "mine"}


@pytest.mark.parametrize("out", [".", ""])
@pytest.mark.parametrize("name", MINE)
def test_a_folder_with_files_of_the_users_own_is_not_written_into(tmp_path, monkeypatch, capsys, images, name, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(MINE[name])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert call(*TRAIN, "--data", images, "--out", out) == 2
    assert f"holds {name.split('/')[0]}" in complaint(capsys)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_tables_and_figures_of_the_users_own_are_not_written_over(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes.csv").write_text("mine")
    assert call("compare-recipes", "vae", "--out", ".") == 2
    assert "holds recipes.csv" in complaint(capsys)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "estimator-cost.png").write_text("mine")
    assert call("compare", run, "--out", ".") == 2
    assert "holds figures/estimator-cost.png" in complaint(capsys)


def test_a_folder_with_other_files_is_refused_and_they_stay(tmp_path, images, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert call(*TRAIN, "--data", images, "--out", tmp_path) == 2
    assert "holds 'notes.txt', which no run wrote; nothing was touched" in complaint(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("command", ["compare", "diagnose", "sample"])
def test_a_place_that_cannot_be_written_is_found_out_before_the_work(run, tmp_path, capsys, command):
    (tmp_path / "file").write_text("")
    name = {"compare": "sub", "diagnose": "sub/report.html", "sample": "sub/x.npy"}[command]
    assert call(command, run, "--out", tmp_path / "file" / name) == 2
    assert "cannot be written into" in complaint(capsys)


def test_the_users_home_is_understood(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert call("sample", run, "-n", 2, "--out", "~/mine/x.npy") == 0
    assert (tmp_path / "mine" / "x.npy").exists()


@pytest.mark.parametrize("command", ["evaluate", "sample", "plot", "compare", "diagnose"])
@pytest.mark.parametrize("key", ["model.decoder.2.bias", "guide.posterior.scale_head.bias"])
def test_a_run_with_one_weight_that_is_not_a_number(run, capsys, command, key):
    state = load_file(run / "weights.safetensors")
    state[key].view(-1)[0] = float("nan")
    save_file(state, run / "weights.safetensors")
    assert call(command, run) == 2
    assert "not the weights that config.json was saved with" in complaint(capsys)
    stored = json.loads((run / "config.json").read_text())
    # As in version 0.1.0, which had no checksums.
    (run / "config.json").write_text(json.dumps({k: v for k, v in stored.items() if k != "weights_sha256"}))
    assert call(command, run) == 2
    assert f"'{key}' has 1 of" in complaint(capsys)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", '{"best_epoch": 1, "data": 3}'),
        ("manifest.json", '{"best_epoch": "x", "data": {"validation": "none"}}'),
        ("manifest.json", "[" * 100_000),
        ("history.csv", "a,b\n1,2\n"),
        ("history.csv", "epoch,train_elbo,train_log_likelihood,train_kl\n1,x,y,z\n"),
        ("data.json", '{"data": "digits", "options": {"name": "x"}}'),
    ],
)
def test_damaged_files_of_a_run(run, capsys, name, content):
    (run / name).write_text(content)
    assert call("plot", run) == 2
    complaint(capsys)


@pytest.mark.parametrize("field", ["data", "settings"])
def test_a_manifest_of_another_shape_does_not_stop_a_diagnosis_late(run, capsys, field):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {field: 3}))
    assert call("diagnose", run, "--quick") == 2
    assert "not the manifest of a run" in complaint(capsys)


@pytest.mark.slow
def test_names_in_brackets_are_names(images, tmp_path, capsys):
    folder = tmp_path / "[/red]x [bold]:smile:"
    assert call(*[arg for arg in TRAIN if arg != "--quiet"], "--data", images, "--out", folder) == 0
    assert str(folder) in capsys.readouterr().out
    data = tmp_path / "[bold]d.npz"
    shutil.copy(images, data)
    assert call("evaluate", folder, "--data", data) == 0
    assert "[bold]d" in capsys.readouterr().out


def test_a_terminal_of_ascii_alone(run, monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii", write_through=True))
    assert call("evaluate", run) == 0
    assert b"+-" in printed.getvalue()
    assert printed.getvalue().isascii()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["recipes", "--help"])
def test_a_reader_that_hears_nothing_is_no_fault(command):
    command = f"(sleep 1; PYTHONUNBUFFERED=1 {sys.executable} -m ppl_vae {command}) | true"
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "/secret"), "/secret: Permission denied"),
        (MemoryError("Unable to allocate 7 TiB"), "not enough memory: Unable to allocate 7 TiB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory: Default"),
    ],
)
def test_what_the_machine_refuses_is_one_line(monkeypatch, capsys, error, message):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["ppl_vae.cli.app"], "app", refuse)
    assert call("recipes") == 2
    assert message in complaint(capsys)


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), TypeError("a fault of ours"), KeyError("x")])
def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["ppl_vae.cli.app"], "app", fail)
    with pytest.raises(type(error)):
        main(["recipes"])


def test_a_message_is_one_bounded_line_without_escape_codes():
    assert one_line("a\n  b\x1b[31m\x07") == r"a b\x1b[31m\x07"
    assert len(one_line("x" * 10**6)) == 2000


def test_an_elbo_that_is_not_finite_is_said_so(run, capsys):
    vae = pv.load(run)
    with torch.no_grad():
        vae.model.decoder[-1].bias.fill_(3e38)
        vae.model.decoder[-1].weight.fill_(3e38)
    vae.save(run)
    code = call("evaluate", run)
    captured = capsys.readouterr()
    assert code in (0, 2)
    assert ("not finite" in captured.out) if code == 0 else captured.err.count("\n") == 1


def test_the_folder_that_the_environment_names_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "gone"))
    assert call(*TRAIN, "--data", "mnist", "--out", tmp_path / "run") == 2
    expected = f"PPL_VAE_DATA: expected the name of a folder, found '{tmp_path / 'gone'}', which is none"
    assert expected in complaint(capsys)
