"""`ppl-vae diagnose` with its default settings against another build of this package.

    python benchmarks/diagnose_builds.py --other CHECKOUT [--rounds 2] [--threads 1]

A run of the digits is trained by the other build, which both then diagnose, a process each, in turn. Seconds are of
the wall clock and of the processor, with the figures and the report.
Written to benchmarks/results/diagnose_builds.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers.child import with_byte_code
from peers.interleave import orders
from peers.machine import machine
from peers.spread import ratio

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "diagnose_builds.json"
TRAIN = ["train", "vae", "--data", "digits", "--latent-dim", "8", "--epochs", "30", "--seed", "0", "--out"]


def command(build: Path, words: list[str], threads: int) -> tuple[float, float]:
    """Run the command line of a build: seconds of the clock and of the processor."""
    environment = with_byte_code(PYTHONPATH=str(build), OMP_NUM_THREADS=str(threads), PYTHONWARNINGS="ignore")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # Not from a checkout: Python would take the package that lies in its folder.
    with tempfile.TemporaryDirectory() as elsewhere:
        python = [sys.executable, "-m", "ppl_vae", *words]
        subprocess.run(python, env=environment, cwd=elsewhere, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, busy


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True, help="a checkout of another build")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    builds = {"this": ROOT, "other": options.other.resolve()}
    load = os.getloadavg()[0]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in builds}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command(builds["other"], [*TRAIN, str(run)], options.threads)
        for number, order in enumerate(orders(list(builds), options.rounds, 0)):
            for name in order:
                page = str(Path(folder) / f"{name}-{number}.html")
                taken[name].append(command(builds[name], ["diagnose", str(run), "--out", page], options.threads))
    record: dict[str, Any] = {"machine": machine(options.threads), "load_before": round(load, 2)}
    for index, kind in enumerate(("clock", "processor")):
        seconds = {name: [each[index] for each in taken[name]] for name in builds}
        record[kind] = {
            "this over the other": ratio(seconds["this"], seconds["other"]).rounded(),
            "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        }
    print(json.dumps(record, indent=1))
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
