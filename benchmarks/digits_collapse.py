"""Posterior collapse on the digits: a strong KL weight empties units, annealing and free bits keep them.

    python benchmarks/digits_collapse.py [--epochs 80] [--seed 0] [--results FOLDER]

The embedded 8x8 digits under dynamic binarisation and a Bernoulli likelihood, 20 latent dimensions, one hidden
layer of 400 units, the same seed, epochs and learning rate for all; only the objective differs. KLs are means over
the test split, whose binarisation is fixed. The numbers go to benchmarks/results/digits_collapse.json, the figure
beside them. The run that is annealed, but to a weight of 4, tells what annealing is for: it helps a model past an
early collapse, and does nothing against an objective whose optimum is one.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

import ppl_vae as pv
from ppl_vae import inference as inf

RESULTS = Path(__file__).parent / "results"
LEARNING_RATE = 2e-3
THRESHOLD = 0.01
ACTIVE_VARIANCE = 0.01


def runs(steps: int) -> dict[str, tuple[str, dict]]:
    """Recipe and options by what the figure calls the run, of so many optimiser steps."""
    half = steps // 2
    return {
        "VAE": ("vae", {}),
        "beta = 4": ("beta-vae", {"beta": 4.0, "latent_dim": 20}),
        "annealed to beta = 4": (
            "vae",
            {"elbo": inf.Annealed("analytic-kl", inf.schedules.linear(half, 0.0, 4.0))},
        ),
        "cyclically annealed to 1": ("cyclical-vae", {"num_steps": half}),
        "free bits, 0.1 nats": ("free-bits-vae", {"floor": 0.1}),
    }


@torch.no_grad()
def measure(vae: pv.VAE, x: torch.Tensor) -> dict:
    """The KL of every dimension in falling order, units active by the variance of their means, and the ELBO."""
    kl = inf.trace_terms(vae.model, vae.guide, x).coordinate_kl("z").mean((0, 1))
    variance = vae.encode(x).mean.var(0)
    summary = inf.evaluate(vae, x, num_particles=64).summary()
    return {
        "kl": [float(f"{value:.4g}") for value in kl.sort(descending=True).values.tolist()],
        "above_threshold": int((kl > THRESHOLD).sum()),
        "active_units": int((variance > ACTIVE_VARIANCE).sum()),
        "elbo": round(summary["elbo"], 3),
        "elbo_stderr": round(summary["elbo_stderr"], 3),
    }


def main() -> None:
    """Train the runs one after the other, write the numbers and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    ds = pv.load_dataset("digits", binarize="dynamic")
    steps = -(-len(ds.train) // 128)
    found, started = {}, time.perf_counter()
    for label, (name, parts) in runs(options.epochs * steps).items():
        recipe = pv.make(name, ds.event_shape, seed=options.seed, **parts)
        settings = {"epochs": options.epochs, "lr": LEARNING_RATE, "batch_size": 128, "seed": options.seed}
        pv.fit(recipe, ds, device="cpu", progress=False, **settings)
        found[label] = {"recipe": name, "objective": repr(recipe.elbo), **measure(recipe.vae, ds.test.x)}
    about = {
        "data": ds.name, "binarization": ds.binarization, "likelihood": "bernoulli", "num_data": len(ds.test.x),
        "epochs": options.epochs, "seed": options.seed, "threshold_nats": THRESHOLD, "torch": torch.__version__,
        "machine": platform.machine(), "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"on": about, "runs": found}, indent=2)
    (options.results / "digits_collapse.json").write_text(text + "\n")
    title = f"Digits, dynamic binarisation, 20 latent dimensions, {options.epochs} epochs"
    kl = {label: run["kl"] for label, run in found.items()}
    figure = pv.plots.plot_latent_kl(kl, threshold=THRESHOLD, title=title)
    figure.savefig(options.results / "digits_collapse.png", dpi=160)


if __name__ == "__main__":
    main()
