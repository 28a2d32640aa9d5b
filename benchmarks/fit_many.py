"""Throughput of ``fit_many`` against single captured fits one after the other, and the difference of their results.

    python benchmarks/fit_many.py [--members 16] [--epochs 40] [--rounds 3]

Both train the same digits VAEs on the same batches and draws, each with the number of threads of its own rule, and
take their steps in machine code that is on disk already. They take turns. Of each turn two numbers count: the whole
call, with the tracing that each single fit does anew, and the median epoch after the first, the steady state alone.

What the machine allows is measured beside them: the matrix products of one member's step alone, by torch.mm on one
thread. If all else were free, members on every core could be as many times as fast as single fits on one thread as
the bound says, and no faster. Written to benchmarks/results/fit_many.json, with the machine's description.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peers.machine import machine
from torch import Tensor

import ppl_vae as pv
from ppl_vae.inference.training import compute
from ppl_vae.inference.training.neighbours import cores

RESULTS = Path(__file__).parent / "results" / "fit_many.json"
PIXELS, LATENT = 64, 8


def vaes(number: int, hidden: int) -> list[pv.VAE]:
    network = pv.networks.MLP((hidden,))
    return [pv.VAE((PIXELS,), latent_dim=LATENT, network=network, seed=seed) for seed in range(number)]


def products(hidden: int, batch: int) -> Callable[[], None]:
    """The matrix products of a step of one member, forward and backward, as its layers lie in memory."""
    layers = [(PIXELS, hidden), (hidden, 2 * LATENT), (LATENT, hidden), (hidden, PIXELS)]
    given = [(torch.randn(batch, m), torch.randn(n, m), torch.randn(batch, n)) for m, n in layers]

    def run() -> None:
        for index, (x, weight, of_output) in enumerate(given):
            torch.mm(x, weight.t())
            torch.mm(of_output.t(), x)
            if index:
                # Nobody asks for the gradient by the data.
                torch.mm(of_output, weight)

    return run


def seconds_of(run: Callable[[], None], times: int = 200) -> float:
    """The median seconds of a call on one thread."""
    taken = []
    with compute.threads(1):
        for _ in range(times):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


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
    x = pv.load_dataset("digits", binarize="threshold").train.x.reshape(-1, PIXELS)
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
    worst, bare = 0.0, []
    for index in range(given.rounds):
        elbos = {}
        bare.append(seconds_of(products(given.hidden, given.batch_size)))
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
    steps = given.members * len(x) // given.batch_size
    product, single, shared = statistics.median(bare), *(medians[name]["epoch"] / steps for name in ways)
    bound = {
        "products of a member's step, one thread, ms": round(1e3 * product, 3),
        "a step of a single fit, ms": round(1e3 * single, 3),
        "a member's share of a step of fit_many, ms": round(1e3 * shared, 3),
        "cores": cores(),
        "epoch, single fits over products on all cores": round(single * min(cores(), given.members) / product, 2),
    }
    record = {
        "command": f"python benchmarks/fit_many.py --members {given.members} --epochs {given.epochs} "
        f"--rounds {given.rounds} --hidden {given.hidden} --batch-size {given.batch_size}",
        "machine": machine(),
        "steps": told,
        "seconds": taken,
        "ratios": ratios,
        "bound": bound,
        "largest difference of a training ELBO, nats": worst,
    }
    print(json.dumps(record, indent=2))
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
