"""Memory after each of many fits of different shapes in one process: does it stay flat?

    python benchmarks/many_fits.py [--fits 50] [--compile true auto false]

Every fit is of a pair with other widths, so that no graph is that of an earlier fit. What is resident is read after
each; the slope is of a straight line through the second half, in megabytes a fit, with its standard error. Written
to benchmarks/results/many_fits.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.machine import machine

import ppl_vae as pv

RECORD = Path(__file__).parent / "results" / "many_fits.json"
PAGE = os.sysconf("SC_PAGE_SIZE") / 1024**2
WAYS = {"true": True, "false": False, "auto": "auto"}


def resident() -> float:
    """Megabytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def fit(index: int, compile: bool | str) -> str:
    """Train a pair whose widths no other has; how its steps ran."""
    vae = pv.VAE((8, 8), 2 + index % 7, network={"name": "mlp", "hidden": (16 + index,)}, seed=index)
    x = (torch.rand(256, 8, 8, generator=torch.Generator().manual_seed(index)) < 0.3).float()
    result = pv.fit(vae, x, epochs=2, batch_size=32, progress=False, device="cpu", compile=compile)
    return str(result.manifest["compile"])


def line(values: list[float]) -> dict[str, float]:
    """The slope of the second half over fits, and its standard error by the residuals."""
    half = np.array(values[len(values) // 2 :])
    (slope, _), covariance = np.polyfit(np.arange(len(half)), half, 1, cov=True)
    return {"megabytes_a_fit": round(float(slope), 3), "stderr": round(float(covariance[0, 0] ** 0.5), 3)}


def main() -> None:
    """Fit, read, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=50)
    parser.add_argument("--compile", nargs="+", choices=WAYS, default=["true", "auto", "false"])
    options = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), "fits": options.fits}
    with tempfile.TemporaryDirectory() as place:
        os.environ["PPL_VAE_STEPS"] = place
        for way in options.compile:
            megabytes, ran = [], set()
            for index in range(options.fits):
                ran.add(fit(index, WAYS[way]))
                megabytes.append(resident())
            record[f"compile={way}"] = {
                "steps": sorted(ran),
                "megabytes_after_the_first": round(megabytes[0], 1),
                "megabytes_after_the_last": round(megabytes[-1], 1),
                **line(megabytes),
                "megabytes": [round(value, 1) for value in megabytes],
            }
            print(way, {name: value for name, value in record[f"compile={way}"].items() if name != "megabytes"})
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
