"""Training throughput of two ranks with a thread each against one process with one thread and with two.

    python benchmarks/ranks.py --rounds 5 --epochs 4

MNIST's MLP (784-400-20) on binary images drawn once, batches of 128 of all ranks together. The three take turns, in
an order that changes from round to round; of each turn the median epoch after the first counts. Ratios are of
medians over rounds. Where other processes compute at the same time, two ranks get twice the share of one process,
so that the ratios mean nothing: the share of the cores that others took is told beside them. Written to
benchmarks/results/ranks.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peers.machine import machine

import ppl_vae as pv
from ppl_vae.files import write_json
from ppl_vae.inference.training.neighbours import Neighbours

RESULTS = Path(__file__).parent / "results" / "ranks.json"
WAYS = {"1 process, 1 thread": (1, 1), "2 ranks, 1 thread each": (2, 1), "1 process, 2 threads": (1, 2)}
ROWS, PIXELS, BATCH = 20_000, 784, 128


def turn(epochs: int, threads: int, out: Path) -> None:
    """Train in this process, alone or as one of two ranks, and write the seconds of an epoch."""
    number, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    if number > 1:
        torch.distributed.init_process_group("gloo", f"file://{out}.store", rank=rank, world_size=number)
    x = (torch.rand(ROWS, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    vae = pv.VAE((PIXELS,), 20, network=pv.networks.MLP((400,)))
    result = pv.fit(
        vae,
        x,
        epochs=epochs,
        batch_size=BATCH,
        compile=False,
        num_threads=threads,
        progress=False,
        distributed="auto",
    )
    if rank == 0:
        out.write_text(json.dumps(result.history["seconds"][1:].median()))


def measured(epochs: int, ranks: int, threads: int) -> float:
    """The seconds of an epoch in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        command = [sys.executable, __file__, "--turn", str(out), "--epochs", str(epochs), "--threads", str(threads)]
        started = [
            subprocess.Popen(command, env={**os.environ, "WORLD_SIZE": str(ranks), "RANK": str(rank)})
            for rank in range(ranks)
        ]
        if any(process.wait() for process in started):
            raise SystemExit("a process of this turn failed")
        return float(json.loads(out.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="of a turn")
    parser.add_argument("--turn", type=Path, help="used by the measurement itself")
    given = parser.parse_args()
    if given.turn is not None:
        turn(given.epochs, given.threads, given.turn)
        return
    neighbours, seconds = Neighbours(), {way: [] for way in WAYS}
    taken = neighbours.cores_taken()
    for number in range(given.rounds):
        for way in random.Random(number).sample(list(WAYS), len(WAYS)):
            seconds[way].append(measured(given.epochs, *WAYS[way]))
    print(f"{taken:.1f} cores were taken by others when it began; {given.rounds} rounds")
    for way, each in seconds.items():
        print(f"{way:24} {statistics.median(each):.3f} s an epoch [{min(each):.3f}, {max(each):.3f}]")
    two = statistics.median(seconds["2 ranks, 1 thread each"])
    ratios = {
        f"2 ranks against {way}": round(statistics.median(seconds[way]) / two, 2)
        for way in ("1 process, 1 thread", "1 process, 2 threads")
    }
    print(ratios)
    record = {
        "command": f"python benchmarks/ranks.py --rounds {given.rounds} --epochs {given.epochs}",
        "machine": machine(),
        "cores_taken_by_others": round(taken, 2),
        "seconds_an_epoch": seconds,
        "times_the_throughput": ratios,
    }
    write_json(RESULTS, record)


if __name__ == "__main__":
    main()
