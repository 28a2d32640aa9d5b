"""Every estimator on one trained VAE of the digits: bias, gradient variance, time, and what they make together.

    OMP_NUM_THREADS=1 python benchmarks/digits_estimators.py [--repeats 400] [--epochs 60] [--results FOLDER]

The embedded 8x8 digits, dynamic binarisation, 8 latent dimensions, one hidden layer; trained with a closed-form KL,
then compared at these weights on 64 held-out data with the same noise. The numbers and the laboratory's own words
go to benchmarks/results/digits_estimators.json, the figure beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae import inference as inf

RESULTS = Path(__file__).parent / "results"
NUM_DATA = 64


def rows(table: xr.Dataset) -> dict[str, dict[str, Any]]:
    """The numbers by estimator; gradients are those of the guide's mean head."""
    found = {}
    for name in table["estimator"].to_numpy():
        own = table.sel(estimator=name)
        head = own.sel(group="encoder mean head")
        found[str(name)] = {
            "draws": int(own["num_draws"]),
            "value": round(float(own["value"]), 3),
            "bias to the ELBO": round(float(own["bias_elbo"]), 3),
            "± of the bias": round(float(own["bias_elbo_stderr"]), 3),
            "gradient variance": float(f"{float(head['gradient_variance']):.4g}"),
            "signal to noise": float(f"{float(head['snr']):.3g}"),
            "milliseconds": float(f"{float(own['milliseconds']):.3g}"),
        }
    return found


def main() -> None:
    """Train, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.perf_counter()
    ds = pv.load_dataset("digits", binarize="dynamic")
    vae = pv.VAE(ds.event_shape, latent_dim=8, seed=0)
    pv.fit(vae, ds, epochs=options.epochs, lr=2e-3, device="cpu", progress=False)
    table = pv.compare_estimators(vae, ds.test.x[:NUM_DATA], num_repeats=options.repeats, progress=False)
    record = {
        "on": {
            "data": ds.name, "binarization": ds.binarization, "num_data": NUM_DATA, "repeats": options.repeats,
            "epochs": options.epochs, "gradient of": "the mean head of the encoder", "torch": torch.__version__,
            "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - started, 1),
            "load average": round(os.getloadavg()[0], 1),
        },
        "words": inf.check_estimators(table).details,
        "estimators": rows(table),
    }  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "digits_estimators.json").write_text(json.dumps(record, indent=1) + "\n")
    figure = pv.plots.plot_estimator_cost(table)
    figure.savefig(options.results / "digits_estimators.png", dpi=130)


if __name__ == "__main__":
    main()
