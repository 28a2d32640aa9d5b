"""Measure the training speed of this checkout against another one, turn by turn in processes of their own.

    git worktree add /tmp/before v0.1.0
    python benchmarks/two_builds.py /tmp/before --rounds 7

Every turn starts a process with one of the two packages, warms up and times epochs of the same fits: eager and
compiled steps of an MLP on the digits, and of one on images as large as MNIST's. The rate of a turn is that of its
fastest epoch, as other work on a machine only slows. Printed and recorded are medians of images per second, and the
median over rounds of this checkout's rate over the other's, with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "two_builds.json"
TURN = """
import json, sys, warnings
import torch, ppl_vae as pv
torch.set_num_threads(1)
side, hidden, latent, batch, size = 8, 128, 8, 64, 1600
if sys.argv[1] == "mnist-mlp":
    side, hidden, latent, batch, size = 28, 400, 20, 128, 6400
x = (torch.rand(size, 1, side, side, generator=torch.Generator().manual_seed(0)) < 0.3).float()
vae = pv.VAE((1, side, side), latent, network={"name": "mlp", "hidden": [hidden]}, seed=0)
warnings.simplefilter("ignore")
fit = lambda epochs: pv.fit(vae, x, epochs=epochs, batch_size=batch, compile=sys.argv[2] == "compiled",
                            num_threads=1, progress=False, device="cpu").history.seconds
fit(2)
print(json.dumps(size / fit(int(sys.argv[3])).iloc[1:].min()))
"""
# Epochs of a turn, so that each takes seconds.
WORKLOADS = {
    ("digits-mlp", "eager"): 12,
    ("digits-mlp", "compiled"): 60,
    ("mnist-mlp", "eager"): 6,
    ("mnist-mlp", "compiled"): 10,
}


def turn(checkout: Path, workload: str, mode: str, epochs: int) -> float:
    """Images per second of one process on one thread."""
    command = [sys.executable, "-c", TURN, workload, mode, str(epochs)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    printed = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    return float(json.loads(printed.stdout.splitlines()[-1]))


def measure(other: Path, rounds: int) -> dict[str, dict[str, float | str]]:
    """By workload and kind of step, the rates and their ratio."""
    found: dict[str, dict[str, float | str]] = {}
    for (workload, mode), epochs in WORKLOADS.items():
        rates = np.array(
            [[turn(checkout, workload, mode, epochs) for checkout in (ROOT, other)] for _ in range(rounds)]
        )
        low, middle, high = np.quantile(rates[:, 0] / rates[:, 1], [0.25, 0.5, 0.75])
        ours, theirs = np.median(rates, 0)
        row = {"this": round(ours), "other": round(theirs), "ratio": round(middle, 3)}
        found[f"{workload}, {mode}"] = row | {"quartiles": f"{low:.3f} to {high:.3f}"}
        print(f"{workload}, {mode}: {found[f'{workload}, {mode}']}", flush=True)
    return found


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of the other build")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", options.other, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    record = {
        "other": commit,
        "rounds": options.rounds,
        "images per second": measure(options.other, options.rounds),
    }
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
