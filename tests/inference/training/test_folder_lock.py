"""Two processes never train into one folder, and a lock ends with its process."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

import ppl_vae as pv
from ppl_vae.errors import CheckpointError
from ppl_vae.inference.training.folder_lock import LOCK, locked
from ppl_vae.inference.training.run_folder import as_folder
from tests.inference.small_runs import files, small_data, small_vae, train

HOLDER = """
    import sys, time
    from pathlib import Path
    from ppl_vae.inference.training.folder_lock import locked
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(300)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path/run."""
    program = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "run")]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_use_is_refused_with_its_holder(holder, tmp_path, resume):
    before = files(tmp_path)
    with pytest.raises(
        CheckpointError, match=rf"process {holder.pid} on \S+ \(since 2\S+\) trains into this"
    ) as caught:
        train(small_vae(), small_data(), out_dir=tmp_path / "run", resume=resume)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock_behind(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    train(small_vae(), small_data(), out_dir=tmp_path / "run", epochs=1)
    assert not (tmp_path / "run" / LOCK).exists()


def test_one_process_does_not_enter_twice(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(CheckpointError, match=f"process {os.getpid()} on .* trains into this folder"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_a_folder_that_nothing_was_written_into_goes_away(tmp_path):
    with locked(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    with locked(tmp_path / "new"):
        (tmp_path / "new" / "mine").write_text("")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]


def test_an_unwritable_folder_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    steps = []

    def schedule(step):
        steps.append(step)
        return 1.0

    with pytest.raises(CheckpointError, match=r"file/run: could not be written \(.*\); nothing was trained"):
        train(small_vae(), small_data(), out_dir=tmp_path / "file" / "run", schedule=schedule)
    assert len(steps) == 1, "the one look at the schedule's first value"


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"too long|null character"):
        train(small_vae(), small_data(), out_dir=f"{tmp_path}/{name}")
    assert not files(tmp_path)


@pytest.mark.slow
def test_half_written_files_of_killed_processes_are_swept(tmp_path):
    train(small_vae(), small_data(), out_dir=tmp_path, epochs=1)
    for name in (".checkpoint.safetensors.partial", ".config.json.123.partial"):
        (tmp_path / name).write_text("half")
    train(small_vae(), small_data(), out_dir=tmp_path, epochs=2, resume=True)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_what_a_killed_save_has_left_for_its_model_is_kept(tmp_path):
    """Killed between the renames of weights and configuration, the run's folder loads, whatever is tried next."""
    result = train(small_vae(), small_data(), out_dir=tmp_path, epochs=1)
    config = tmp_path / "config.json"
    config.rename(tmp_path / ".config.json.elsewhere-123-0a1b2c3d.partial")
    small_vae(seed=5).save(tmp_path / "older")
    (tmp_path / "older" / "config.json").rename(config)
    before = files(tmp_path)
    for settings in ({}, {"resume": True, "lr": 0.5}):
        with pytest.raises(CheckpointError):
            train(small_vae(), small_data(), out_dir=tmp_path, epochs=2, **settings)
        assert files(tmp_path) == before
        assert pv.load(tmp_path).config == result.model.config
    train(small_vae(), small_data(), out_dir=tmp_path, epochs=2, resume=True)
    assert not list(tmp_path.glob(".*"))
    assert pv.load(tmp_path).config == result.model.config


def test_the_home_is_expanded_and_no_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result = train(small_vae(), small_data(), out_dir="~/run", epochs=1)
    assert result.out_dir == tmp_path / "run"
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert as_folder(None) is None
    for name in ("", "  "):
        with pytest.raises(CheckpointError, match="out_dir is empty; name a folder"):
            train(small_vae(), small_data(), out_dir=name)
