"""Throughput of ``fit_many`` against single captured fits one after the other, and the difference of their results.

    python benchmarks/fit_many.py [--members 16] [--epochs 40] [--rounds 3]

Both train the same digits VAEs on the same batches and draws, each with the number of threads of its own rule, and
take their steps in machine code that is on disk already. They take turns. Of each turn two numbers count: the whole
call, with the tracing that each single fit does anew, and the median epoch after the first, the steady state alone.
Written to benchmarks/results/fit_many.json, with the machine's description.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from peers.machine import machine
from torch import Tensor

import ppl_vae as pv

RESULTS = Path(__file__).parent / "results" / "fit_many.json"


def vaes(number: int, hidden: int) -> list[pv.VAE]:
    network = pv.networks.MLP((hidden,))
    return [pv.VAE((64,), latent_dim=8, network=network, seed=seed) for seed in range(number)]


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=400, help="units of the hidden layer")
    parser.add_argument("--batch-size", type=int, default=128)
    return parser.parse_args()


def turn(train: Callable[[], list]) -> tuple[dict[str, float], list[Tensor], str]:
    """Seconds of the call and of an epoch of all, the training ELBOs, and how steps and threads were chosen."""
    began = time.perf_counter()
    results = train()
    seconds = time.perf_counter() - began
    epoch = sum(each.history["seconds"][1:].median() for each in results)
    facts = results[0].manifest
    return (
        {"call": seconds, "epoch": epoch},
        [each.history["train_elbo"] for each in results],
        f"{facts['compile']}, {facts['num_threads']} threads",
    )


def main() -> None:
    given = asked()
    x = pv.load_dataset("digits", binarize="threshold").train.x.reshape(-1, 64)
    x = x[: len(x) - len(x) % given.batch_size]
    options = {"epochs": given.epochs, "batch_size": given.batch_size, "compile": True, "progress": False}

    def alone() -> list:
        made = vaes(given.members, given.hidden)
        return [pv.fit(vae, x, seed=k, **options) for k, vae in enumerate(made)]

    def together() -> list:
        return pv.fit_many(vaes(given.members, given.hidden), x, **options)

    ways = {"single fits": alone, "fit_many": together}
    # The first turn of each puts its machine code on disk.
    told = {name: turn(way)[2] for name, way in ways.items()}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    worst = 0.0
    for index in range(given.rounds):
        elbos = {}
        for name in list(ways)[:: 1 if index % 2 else -1]:
            numbers, elbos[name], _ = turn(ways[name])
            taken[name].append(numbers)
        pairs = zip(*elbos.values(), strict=True)
        worst = max([worst, *((one - other).abs().max() for one, other in pairs)])
    medians = {
        name: {key: statistics.median(each[key] for each in rows) for key in rows[0]}
        for name, rows in taken.items()
    }
    ratios = {
        f"{key}, single fits over fit_many": round(medians["single fits"][key] / medians["fit_many"][key], 2)
        for key in ("call", "epoch")
    }
    record = {
        "command": f"python benchmarks/fit_many.py --members {given.members} --epochs {given.epochs} "
        f"--rounds {given.rounds} --hidden {given.hidden} --batch-size {given.batch_size}",
        "machine": machine(),
        "steps": told,
        "seconds": taken,
        "ratios": ratios,
        "largest difference of a training ELBO, nats": worst,
    }
    print(json.dumps(record, indent=2))
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
