"""k-hat, the importance bound and AIS of many images against the matrix products that they cannot do without.

    PPL_VAE_DATA=... python benchmarks/whole_data_set.py [--data 400] [--draws 1000] [--rounds 5] [--threads 1]

The pair is the MLP of Pyro's tutorial (784-400-20) after an epoch on MNIST. ``run_importance`` and ``log_evidence``
decode every draw of every image; the bound is the time of the decoder's two products alone, ``torch.mm`` into kept
results, at the number of rows that is fastest here. AIS takes a gradient in z at every leapfrog step, four
products; those of its pilot are not in the bound. It runs with its own number of temperatures, on an image of every
sixteen. Each is taken on a few images before the first round, which loads what a first call loads. The turns
interleave; what is told is the bound's time over ours, by wall clock and by processor time. Time is linear in the
data, so that 10,000 images need no other measurement. Written to benchmarks/results/whole_data_set.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peers.interleave import orders
from peers.machine import machine
from peers.spread import ratio
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae import diagnostics as dg
from ppl_vae.inference.evidence.annealed import TEMPERATURES

RECORD = Path(__file__).parent / "results" / "whole_data_set.json"
ROWS = (512, 1024, 2048, 4096, 16384)
CHAINS, LEAPFROG = 16, 10


def products(weights: list[Tensor], rows: int, total: int) -> Callable[[], None]:
    """Products of so many rows in all with one matrix after the other, a block at a time."""
    inputs = [torch.rand(rows, weight.shape[0]) for weight in weights]
    outputs = [torch.empty(rows, weight.shape[1]) for weight in weights]

    def run() -> None:
        for _ in range(-(-total // rows)):
            for block, weight, out in zip(inputs, weights, outputs, strict=True):
                torch.mm(block, weight, out=out)

    return run


def fastest(weights: list[Tensor], total: int) -> Callable[[], None]:
    """The products at the number of rows that is fastest, by processor time."""
    candidates = {rows: products(weights, rows, 65_536) for rows in ROWS}
    taken = {rows: min(seconds(run)[1] for _ in range(3)) for rows, run in candidates.items()}
    return products(weights, min(taken, key=lambda rows: taken[rows]), total)


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Of the clock and of the processor."""
    began, busy = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - began, time.process_time() - busy


def turns(vae: Any, x: Tensor, draws: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    forward = [layer.weight.detach().T.contiguous() for layer in vae.model.decoder if isinstance(layer, nn.Linear)]
    backward = [weight.T.contiguous() for weight in reversed(forward)]
    few = x[: max(1, len(x) // 16)]
    gradients = len(few) * CHAINS * (TEMPERATURES - 1) * LEAPFROG
    return {
        "products": fastest(forward, len(x) * draws),
        "k-hat": lambda: dg.run_importance(vae, x, draws, seed=0),
        "importance bound": lambda: pv.log_evidence(vae, x, num_samples=draws, seed=0, progress=False),
        "products of gradients": fastest(forward + backward, gradients),
        "AIS": lambda: pv.log_evidence(
            vae, few, "ais", CHAINS, num_temperatures=TEMPERATURES, num_leapfrog=LEAPFROG, seed=0, progress=False
        ),
    }


PAIRS = {"k-hat": "products", "importance bound": "products", "AIS": "products of gradients"}


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=int, default=400)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--root", help="folder with MNIST's IDX files; else PPL_VAE_DATA")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    ds = pv.load_dataset("mnist", root=options.root, binarize="stochastic")
    vae = pv.VAE(ds.event_shape, latent_dim=20, seed=0)
    pv.fit(vae, ds.train.x[:20_000], epochs=1, seed=0, device="cpu", progress=False, num_threads=options.threads)
    torch.set_num_threads(options.threads)
    for turn in turns(vae, ds.test.x[:16], 100).values():
        turn()
    table = turns(vae, ds.test.x[: options.data], options.draws)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in table}
    for order in orders(list(table), options.rounds, 0):
        for name in order:
            taken[name].append(seconds(table[name]))
    clock, busy = ({name: [each[kind] for each in taken[name]] for name in table} for kind in (0, 1))
    record = {
        "machine": machine(options.threads),
        "load_before": round(load, 2),
        "data": options.data, "draws": options.draws, "rounds": options.rounds,
        "AIS of": {"chains": CHAINS, "temperatures": TEMPERATURES, "leapfrog": LEAPFROG},
        "bound over ours, clock": {
            ours: ratio(clock[bound], clock[ours]).rounded() for ours, bound in PAIRS.items()
        },
        "bound over ours, processor": {
            ours: ratio(busy[bound], busy[ours]).rounded() for ours, bound in PAIRS.items()
        },
        "seconds": {name: [round(value, 3) for value in values] for name, values in clock.items()},
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
