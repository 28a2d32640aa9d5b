"""A run that is killed, starved of disk or handed damaged files goes on to the same weights, or says why not."""

import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import ppl_vae as pv
from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.inference.training.checkpoint import read_checkpoint, write_checkpoint
from ppl_vae.inference.training.run_files import CHECKPOINT

SECONDS_OF_PATIENCE = 120
BATCH = 64
ENV = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def ds():
    return pv.load_dataset("digits", binarize="dynamic")


def fitted(ds, folder, epochs, latent_dim=4, resume=False):
    """The run of these tests, in this process."""
    recipe = pv.make("vae", ds.event_shape, latent_dim=latent_dim, batch_size=BATCH, seed=0)
    return pv.fit(recipe, ds, epochs=epochs, out_dir=folder, resume=resume, device="cpu", progress=False)


def command(folder, epochs):
    """The same run as a command line."""
    options = f"--data digits --latent-dim 4 --batch-size {BATCH} --epochs {epochs} --device cpu --resume --quiet"
    return [sys.executable, "-m", "ppl_vae", "train", "vae", *options.split(), "--no-figures", "--out", str(folder)]


def epochs_for(ds, folder, seconds):
    """As many epochs as take about that long here."""
    trial = fitted(ds, folder, 8).history["seconds"][2:]
    return int(seconds / trial.median())


def kill_after_a_checkpoint(folder, epochs, delay):
    """Start or continue the run, and kill it some seconds after it has written a checkpoint of its own."""
    path = folder / CHECKPOINT
    before = path.stat().st_mtime_ns if path.exists() else 0
    process = subprocess.Popen(command(folder, epochs), env=ENV)
    deadline = time.monotonic() + SECONDS_OF_PATIENCE
    while not (path.exists() and path.stat().st_mtime_ns != before):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    return read_checkpoint(path)["state"]["epoch"]


def killed_and_resumed(ds, tmp_path, kills, seconds):
    """Compare the weights of a run that is killed again and again with those of one that never was."""
    epochs = epochs_for(ds, tmp_path / "trial", seconds)
    fitted(ds, tmp_path / "whole", epochs)
    moments = random.Random(0)
    reached = [kill_after_a_checkpoint(tmp_path / "killed", epochs, moments.uniform(0, 0.4)) for _ in range(kills)]
    assert reached == sorted(set(reached)), "each leg makes progress"
    assert reached[0] > 0
    assert reached[-1] < epochs
    subprocess.run(command(tmp_path / "killed", epochs), env=ENV, check=True)
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "killed")]
    assert weights[0] == weights[1]


KILLED_AT_A_STEP = f"""
    import os, signal, sys
    import ppl_vae as pv
    from ppl_vae.inference.training import loop
    from ppl_vae.inference.training.steps import Stepper

    folder, last = sys.argv[1], int(sys.argv[2])
    take_step = Stepper.__call__

    def step_or_die(stepper, batch, step):
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(stepper, batch, step)

    Stepper.__call__ = step_or_die
    loop.SECONDS_BETWEEN_CHECKPOINTS = 0
    ds = pv.load_dataset("digits", binarize="dynamic")
    recipe = pv.make("vae", ds.event_shape, latent_dim=4, batch_size={BATCH}, seed=0)
    pv.fit(recipe, ds, epochs=6, out_dir=folder, resume=True, device="cpu", progress=False)
"""


@pytest.mark.slow
def test_kills_in_the_middle_of_an_epoch_do_not_change_the_weights(ds, tmp_path):
    steps_an_epoch = -(-len(ds.train.x) // BATCH)
    program = [sys.executable, "-c", textwrap.dedent(KILLED_AT_A_STEP), str(tmp_path / "killed")]
    for step, epochs_done in ((1.5 * steps_an_epoch, 1), (4.2 * steps_an_epoch, 4)):
        assert subprocess.run([*program, str(int(step))], env=ENV).returncode == -signal.SIGKILL
        assert read_checkpoint(tmp_path / "killed" / CHECKPOINT)["state"]["epoch"] == epochs_done
    fitted(ds, tmp_path / "killed", 6, resume=True)
    fitted(ds, tmp_path / "whole", 6)
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "killed")]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_do_not_change_the_weights(ds, tmp_path):
    killed_and_resumed(ds, tmp_path, kills=10, seconds=25)


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_checkpoint(ds, tmp_path):
    fitted(ds, tmp_path / "run", 1)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    done = subprocess.run(
        command(tmp_path / "run", 2),
        env=ENV,
        preexec_fn=_no_large_files,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'run' / CHECKPOINT}: could not be written" in done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    fitted(ds, tmp_path / "run", 2, resume=True)
    fitted(ds, tmp_path / "whole", 2)
    resumed, whole = ((tmp_path / run / "weights.safetensors").read_bytes() for run in ("run", "whole"))
    assert resumed == whole


def _no_large_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_kill_between_writing_and_renaming_keeps_the_old_checkpoint(tmp_path):
    write_checkpoint(tmp_path / CHECKPOINT, {"epoch": 1})
    before = (tmp_path / CHECKPOINT).read_bytes()
    program = f"""
        import os, signal
        from pathlib import Path
        from ppl_vae.inference.training.checkpoint import write_checkpoint
        Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_checkpoint(Path({str(tmp_path / CHECKPOINT)!r}), {{"epoch": 2}})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=ENV)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2, "the temporary file of the killed process is left beside it"
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert read_checkpoint(tmp_path / CHECKPOINT) == {"epoch": 1}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["empty", "truncated", "header", "foreign"])
def test_a_corrupt_checkpoint_is_named_and_left(ds, tmp_path, damage):
    fitted(ds, tmp_path, 1)
    path: Path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "truncated": whole[: len(whole) // 2],
            "header": b"\xff" * 16 + whole[16:],
            "foreign": (tmp_path / "weights.safetensors").read_bytes(),
        }[damage]
    )
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=f"{path}: not a readable checkpoint"):
        fitted(ds, tmp_path, 2, resume=True)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_another_architecture_is_refused_by_its_difference(ds, tmp_path):
    fitted(ds, tmp_path, 1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises((CheckpointError, ModelError), match=r"'latent_dim': 4.*'latent_dim': 5"):
        fitted(ds, tmp_path, 2, latent_dim=5, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
