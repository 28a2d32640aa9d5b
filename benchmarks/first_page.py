"""What the documentation's first page shows: its own ten lines, run, with the figures and numbers they give.

    OMP_NUM_THREADS=1 python benchmarks/first_page.py

Runs docs/first_steps.py as it stands. The figures go to docs/pictures, the numbers to
benchmarks/results/first_page.json.
"""

from __future__ import annotations

import json
import runpy
import time
from pathlib import Path

import torch

import ppl_vae as pv

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "first_page.json"
PICTURES = ROOT / "docs" / "pictures"


def main() -> None:
    """Run the lines, write what they leave."""
    started = time.perf_counter()
    found = runpy.run_path(str(ROOT / "docs" / "first_steps.py"))
    seconds = time.perf_counter() - started
    PICTURES.mkdir(exist_ok=True)
    for name in ("codes", "manifold"):
        found[name].savefig(PICTURES / f"first_{name}.png", dpi=130)
    held_out = pv.evaluate(found["vae"], found["ds"].test.x, num_particles=16).summary()
    evidence = found["evidence"]
    record = {
        "elbo": held_out["elbo"],
        "elbo_stderr": held_out["elbo_stderr"],
        "log_evidence": evidence.mean,
        "log_evidence_draw_stderr": evidence.stderr,
        "num_data": len(found["ds"].test),
        "epochs": found["result"].epochs_run,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": found["result"].manifest["device"],
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
