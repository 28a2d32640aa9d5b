"""A whole diagnosis of one trained VAE of the digits: every verdict, and what each topic cost.

    OMP_NUM_THREADS=1 python benchmarks/digits_diagnosis.py [--epochs 60] [--results FOLDER]

The embedded 8x8 digits, dynamic binarisation, 8 latent dimensions, one hidden layer, the full effort of
``ppl_vae.diagnostics.FULL`` on held-out data; the training data that it compares them with are one draw of the
same kind. The record goes to benchmarks/results/digits_diagnosis.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import torch

import ppl_vae as pv
from ppl_vae.diagnostics import FULL, diagnose

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Train, diagnose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.perf_counter()
    ds = pv.load_dataset("digits", binarize="dynamic")
    vae = pv.VAE(ds.event_shape, latent_dim=8, seed=0)
    pv.fit(vae, ds, epochs=options.epochs, lr=2e-3, device="cpu", progress=False)
    trained = time.perf_counter()
    cpu = time.process_time()
    # Binarised as in training: else the generalisation gap would be one between two kinds of data.
    train = pv.data.binarize(ds.train.x, "stochastic", generator=torch.Generator().manual_seed(0))
    begun: list[tuple[str, float]] = []
    diagnosis = diagnose(
        vae,
        ds.test.x,
        train,
        ds.test.y,
        seconds=3600,
        on_topic=lambda title: begun.append((title, time.process_time())),
    )
    ended = [since for _, since in begun[1:]] + [time.process_time()]
    took = {title: end - since for (title, since), end in zip(begun, ended, strict=True)}
    topics = {
        finding.title: {
            "seconds": round(finding.seconds, 1),
            "processor seconds": round(took[finding.title], 1),
            "verdicts": [str(verdict) for verdict in finding.verdicts],
        }
        for finding in diagnosis.findings.values()
    }
    on = {
        "data": ds.name, "binarization": ds.binarization, "num_data": len(diagnosis.x), "epochs": options.epochs,
        "seconds of training": round(trained - started, 1),
        "seconds of the diagnosis": round(diagnosis.seconds, 1),
        "processor seconds of it": round(time.process_time() - cpu, 1),
        "threads": torch.get_num_threads(),
        "load average": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
    }  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    record = {"on": on, "effort": asdict(FULL), "topics": topics}
    (options.results / "digits_diagnosis.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
