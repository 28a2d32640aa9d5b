"""CountVAE against scvi-tools' SCVI on generated counts: held-out log p(x) per cell, and the time of training.

    python benchmarks/count_peers.py --peer PYTHON [--epochs 60]

PYTHON is an interpreter of an environment of its own with scvi-tools. Both have a hidden layer of 128, 10 latent
dimensions, a negative binomial with a dispersion per gene, a latent library size, the experiment as a covariate of
the decoder, no dropout and no normalisation, Adam at 1e-3, batches of 128, one thread. Given the observed total, as
SCVI has it by default, log p(x) is another quantity. Both numbers are importance bounds of as many draws; cells are
paired. Written to benchmarks/results/count_peers.json. Lopez et al. (2018): https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from peers.machine import machine

import ppl_vae as pv
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "count_peers.json"
GENES, KINDS, EXPERIMENTS, HELD_OUT = 100, 3, 2, 500


def cells(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts [N, G] of some kinds of cells in two experiments, and the experiments [N]."""
    random = np.random.default_rng(seed)
    profiles = random.dirichlet(np.full(GENES, 0.5), KINDS) + 1e-4
    effects = np.exp(0.5 * random.standard_normal((EXPERIMENTS, GENES)))
    kind, batch = random.integers(0, KINDS, number), random.integers(0, EXPERIMENTS, number)
    share = profiles[kind] * effects[batch]
    mean = np.exp(random.normal(6.0, 0.5, (number, 1))) * share / share.sum(1, keepdims=True)
    dispersion = 2.0
    return random.poisson(random.gamma(dispersion, mean / dispersion)).astype(np.float32), batch


def ours(x: torch.Tensor, batch: torch.Tensor, held: tuple, epochs: int, draws: int) -> tuple[np.ndarray, float]:
    vae = pv.models.CountVAE(
        (GENES,), 10, network=pv.networks.MLP((128,)), likelihood="negative-binomial", batches=EXPERIMENTS
    )
    result = pv.fit(
        vae, (x, batch), epochs=epochs, batch_size=128, lr=1e-3, num_threads=1, progress=False, device="cpu"
    )
    evidence = pv.log_evidence(vae, held, num_samples=draws, progress=False)
    return evidence.per_datum.numpy(), float(result.history["seconds"].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the interpreter that has scvi-tools")
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--draws", type=int, default=200)
    given = parser.parse_args()
    x, batch = cells(given.cells)
    parts = {
        f"{name}_{part}": values[chosen]
        for part, chosen in (("test", slice(0, HELD_OUT)), ("train", slice(HELD_OUT, None)))
        for name, values in (("x", x), ("batch", batch))
    }
    tensors = {name: torch.from_numpy(values) for name, values in parts.items()}
    held = tensors["x_test"], tensors["batch_test"]
    own, seconds = ours(tensors["x_train"], tensors["batch_train"], held, given.epochs, given.draws)
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "cells.npz", Path(folder) / "scvi.json"
        np.savez(data, **parts)
        script = Path(__file__).parent / "peers" / "scvi_counts.py"
        subprocess.run([given.peer, script, data, out, str(given.epochs), str(given.draws)], check=True)
        peer = json.loads(out.read_text())
    difference = own - np.array(peer["per_cell"])
    error = difference.std(ddof=1) / len(difference) ** 0.5
    print(f"{len(own)} held-out cells, {given.epochs} epochs, {given.draws} draws; scvi-tools {peer['version']}")
    print(f"log p(x) per cell: CountVAE {own.mean():.3f}, SCVI {np.mean(peer['per_cell']):.3f} nats")
    print(f"CountVAE - SCVI, paired: {difference.mean():.3f} +- {error:.3f} nats")
    print(f"training: CountVAE {seconds:.1f} s, SCVI {peer['seconds']:.1f} s of wall clock, one after the other")
    record = {
        "command": f"python benchmarks/count_peers.py --peer PYTHON --cells {given.cells} --epochs {given.epochs} "
        f"--draws {given.draws}",
        "machine": machine(1),
        "scvi-tools": peer["version"],
        "held_out_cells": len(own),
        "log_p_per_cell": {"CountVAE": round(own.mean(), 3), "SCVI": round(float(np.mean(peer["per_cell"])), 3)},
        "difference": {"mean": round(difference.mean(), 3), "stderr": round(error, 3)},
        "seconds": {"CountVAE": round(seconds, 1), "SCVI": round(peer["seconds"], 1)},
    }
    write_json(RESULTS, record)


if __name__ == "__main__":
    main()
