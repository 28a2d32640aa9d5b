"""The command under torchrun: two real processes, one of them killed, and the run goes on in one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
TRAIN = ["-m", "ppl_vae", "train", "vae", "--data", "digits", "--no-figures", "--quiet"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2"]


def ranks_of(process):
    """The processes of the ranks, by number."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == process.pid:
            found |= {int(line[5:]): int(entry.name) for line in environment if line.startswith(b"RANK=")}
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_rank_ends_the_command_with_one_line_and_one_process_goes_on(tmp_path):
    run = tmp_path / "run"
    started = subprocess.Popen(
        [sys.executable, *TORCHRUN, *TRAIN, "--epochs", "2000", "--out", str(run)],
        cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 300
        while not (run / "checkpoint.safetensors").exists():
            assert started.poll() is None, started.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        os.kill(ranks_of(started)[1], signal.SIGKILL)
        _, said = started.communicate(timeout=120)
    finally:
        started.kill()
    lines = [line for line in said.splitlines() if line.startswith("ppl-vae:")]
    assert len(lines) == 1, said
    # Whether rank 0 sees the broken connection or torchrun's signal first is a race.
    assert "another rank has gone" in lines[0] or "rank 1 of 2 has gone" in lines[0]
    assert lines[0].endswith("give the same command with --resume to continue")
    done = subprocess.run(
        [sys.executable, *TRAIN, "--epochs", "3", "--resume", "--out", str(run)],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(run / "history.csv")) >= 1


def test_a_mistake_is_told_once(tmp_path):
    wrong = ["-m", "ppl_vae", "train", "vae", "--data", "nowhere.npz", "--out", str(tmp_path / "x")]
    done = subprocess.run(
        [sys.executable, *TORCHRUN, *wrong],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("ppl-vae:")]
    assert len(lines) == 1, done.stderr
    assert "nowhere.npz" in lines[0]
