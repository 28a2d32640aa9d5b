"""MNIST: images completed from one, two or three quadrants, by the CVAE and by its baseline network alone.

    python benchmarks/mnist_conditional.py [--root FOLDER] [--visible 1] [--epochs 6] [--threads 1]

The figures beside are those of Pyro's CVAE tutorial: a baseline network, then a CVAE on top of it, z of 200
dimensions, hidden layers 500-500, up to 101 epochs with early stopping on the test images. As there, the pixels are
grey under a Bernoulli's formula, which is no likelihood ("bernoulli-relaxed"), and the figure of the CVAE is minus
its ELBO with ten draws: nats an image over the hidden pixels, lower is better. Here the networks are smaller, the
epochs fewer, all parts of the CVAE are trained at once, and the test images choose nothing. The importance bound of
the first test images stands beside. These runs are compiled. The results go to
benchmarks/results/mnist_conditional.json with the machine's description; --results writes them elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ppl_vae as pv

RESULTS = Path(__file__).parent / "results"
# Minus the conditional log likelihood that the tutorial reports: the baseline network, and the CVAE.
PUBLISHED = {1: (100.4, 71.8), 2: (61.9, 51.0), 3: (25.4, 24.2)}
NETWORK = {"name": "mlp", "hidden": (200, 200), "activation": "relu"}
SHARED: dict[str, Any] = {"network": NETWORK, "likelihood": "bernoulli-relaxed"}
LATENT_DIM, NUM_PARTICLES = 20, 10


def complete(visible: int, train: Tensor, test: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """Train both on the same images and judge both on the same hidden pixels."""
    shape = tuple(train.shape[1:])
    baseline = pv.models.CompletionBaseline(shape, visible, **SHARED)
    cvae = pv.models.CompletionVAE(shape, LATENT_DIM, visible, **SHARED)
    found = {"baseline": judged(baseline, train, test, options), "cvae": judged(cvae, train, test, options)}
    few = test[: options.evidence_data]
    bound = pv.log_evidence(cvae, few, num_samples=options.evidence_draws)
    found["cvae"] |= {
        "minus_importance_bound": round(-bound.mean, 2),
        "minus_importance_bound_stderr": round(bound.data_stderr, 2),
        "on": f"the first {len(few)} test images, {options.evidence_draws} draws",
    }
    for name, figure in zip(("baseline", "cvae"), PUBLISHED[visible], strict=True):
        found[name]["published"] = figure
    return found


def judged(pair: Any, train: Tensor, test: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """Minus the ELBO of the test images after training; of the baseline it is minus the log likelihood."""
    started = time.perf_counter()
    result = pv.fit(
        pair, train, epochs=options.epochs, device="cpu", num_threads=options.threads, compile=True, progress=False
    )
    seconds = time.perf_counter() - started
    found = pv.evaluate(pair, test, num_particles=NUM_PARTICLES).summary()
    return {
        "minus_elbo": round(-found["elbo"], 2),
        "minus_elbo_stderr": round(found["elbo_stderr"], 2),
        "kl": round(found["kl"], 2),
        "train_minus_elbo_of_last_epoch": round(-result.history["train_elbo"].iloc[-1], 2),
        "epochs": result.epochs_run,
        "seconds": round(seconds, 1),
        "steps": result.manifest["compile"],
    }


def main() -> None:
    """Run the settings that were asked for and merge their results into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with MNIST's IDX files; else PPL_VAE_DATA, the cache, a download")
    parser.add_argument("--visible", type=int, choices=PUBLISHED, action="append", help="default: 1, 2 and 3")
    parser.add_argument("--epochs", type=int, default=6, help="of the baseline, and of the CVAE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evidence-data", type=int, default=500)
    parser.add_argument("--evidence-draws", type=int, default=100)
    parser.add_argument("--limit", type=int, help="training and test data at most: for trying the script out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ds = pv.load_dataset("mnist", root=options.root)
    train, test = ds.train.x[: options.limit], ds.test.x[: options.limit]
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / "mnist_conditional.json"
    for visible in options.visible or PUBLISHED:
        found = complete(visible, train, test, options)
        found["about"] = {
            "train_size": len(train),
            "test_size": len(test),
            "likelihood": SHARED["likelihood"],
            "network": NETWORK,
            "latent_dim": LATENT_DIM,
            "num_particles": NUM_PARTICLES,
            "command": f"python benchmarks/mnist_conditional.py --visible {visible} --epochs {options.epochs} "
            f"--threads {options.threads} --evidence-data {options.evidence_data} "
            f"--evidence-draws {options.evidence_draws}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
            "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        }
        stored = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**stored, f"{visible} visible": found}, indent=1) + "\n")
        print(visible, json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
