"""Training throughput of two ranks with a thread each against one process with one thread and with two.

    python benchmarks/ranks.py --rounds 5 --epochs 4

MNIST's MLP (784-400-20) on binary images drawn once, in batches of 128 and of 512 of all ranks together: by eager
steps, by compiled ones, whose machine code a first turn puts on disk, and by the same VAE written out in PyTorch,
whose two ranks are torch's DistributedDataParallel over gloo. The ways take turns, in an order that changes from
round to round; of each turn the median epoch after the first counts. Ratios are of medians over rounds.

What the machine allows is measured beside it: two processes with a thread each that train at the same time and know
nothing of one another, each a whole run of its own. Two ranks could be as fast as these if a step cost half as much
on half of a batch, and if ranks had nothing to tell one another.

Where other processes compute at the same time, two ranks get twice the share of one process, so that the ratios
mean nothing: the share of the cores that others took is told beside them. Written to
benchmarks/results/ranks.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from peers.contender import Task
from peers.machine import machine
from peers.torch_vae import TorchVAE, build, initial_weights
from peers.workloads import Workload, mlp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import ppl_vae as pv
from ppl_vae.files import write_json
from ppl_vae.inference.training.neighbours import Neighbours

RESULTS = Path(__file__).parent / "results" / "ranks.json"
APART = "2 processes apart, 1 thread each"
# Ranks, threads of each, and how many such runs at the same time.
WAYS = {
    "1 process, 1 thread": (1, 1, 1),
    "2 ranks, 1 thread each": (2, 1, 1),
    "1 process, 2 threads": (1, 2, 1),
    APART: (1, 1, 2),
}
STEPS = ("eager", "compiled", "PyTorch")
# N is a multiple of both.
ROWS, PIXELS, BATCHES = 20_480, 784, (128, 512)


def turn(epochs: int, threads: int, steps: str, batch: int, out: Path) -> None:
    """Train in this process, alone or as one of two ranks, and write the seconds of an epoch."""
    number, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    if number > 1:
        torch.distributed.init_process_group("gloo", f"file://{out}.store", rank=rank, world_size=number)
    x = (torch.rand(ROWS, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    take = in_pytorch if steps == "PyTorch" else ours
    seconds = take(x, epochs, threads, steps, batch)
    if rank == 0:
        out.write_text(json.dumps(statistics.median(seconds[1:])))


def ours(x: Tensor, epochs: int, threads: int, steps: str, batch: int) -> list[float]:
    """The seconds of every epoch of ``fit``."""
    vae = pv.VAE((PIXELS,), 20, network=pv.networks.MLP((400,)))
    result = pv.fit(
        vae,
        x,
        epochs=epochs,
        batch_size=batch,
        compile=steps == "compiled",
        num_threads=threads,
        progress=False,
        distributed="auto",
    )
    return list(result.history["seconds"])


class Loss(nn.Module):
    """The loss as a forward pass, which DistributedDataParallel needs."""

    def __init__(self, net: TorchVAE) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Minus the bound on a batch."""
        return self.net.loss(x)


def in_pytorch(x: Tensor, epochs: int, threads: int, steps: str, batch: int) -> list[float]:
    """The seconds of every epoch of a loop in plain PyTorch."""
    torch.set_num_threads(threads)
    number, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    work = Workload("mnist", "mnist", (PIXELS,), 20, mlp(400), batch, ROWS, epochs)
    loss: nn.Module = Loss(build(Task(work, x, initial_weights(work))))
    loss = DistributedDataParallel(loss) if number > 1 else loss
    optimizer = torch.optim.Adam(loss.parameters(), lr=work.lr, fused=True)
    order, seconds = torch.Generator().manual_seed(0), []
    for _ in range(epochs):
        began = time.perf_counter()
        for indices in torch.randperm(ROWS, generator=order).split(batch):
            optimizer.zero_grad(set_to_none=True)
            loss(x[indices.tensor_split(number)[rank]]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - began)
    return seconds


def measured(epochs: int, ranks: int, threads: int, runs: int, steps: str, batch: int) -> float:
    """The seconds of an epoch in processes of their own, the mean of the runs."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"seconds-{run}.json" for run in range(runs)]
        options = ["--epochs", str(epochs), "--threads", str(threads), "--steps", steps, "--batch", str(batch)]
        started = [
            subprocess.Popen(
                [sys.executable, __file__, "--turn", str(out), *options],
                env={**os.environ, "WORLD_SIZE": str(ranks), "RANK": str(rank)},
            )
            for out in outs
            for rank in range(ranks)
        ]
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit("a process of this turn failed")
        return statistics.mean(float(json.loads(out.read_text())) for out in outs)


def taken_in_turns(rounds: int, epochs: int, steps: str, batch: int) -> dict[str, list[float]]:
    """The seconds of an epoch of every way, one of each round."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    if steps == "compiled":
        for way in WAYS:
            measured(2, *WAYS[way], steps, batch)
    for number in range(rounds):
        for way in random.Random(number).sample(list(WAYS), len(WAYS)):
            seconds[way].append(measured(epochs, *WAYS[way], steps, batch))
    return seconds


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Throughputs over that of one process, and what the machine allows."""
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    two, one = medians["2 ranks, 1 thread each"], medians["1 process, 1 thread"]
    return {
        "2 ranks against 1 process, 1 thread": round(one / two, 2),
        "2 ranks against 1 process, 2 threads": round(medians["1 process, 2 threads"] / two, 2),
        "bound: 2 processes apart, both together, against 1 process, 1 thread": round(2 * one / medians[APART], 2),
        "1 process, 2 threads against 1 process, 1 thread": round(one / medians["1 process, 2 threads"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="of a turn")
    parser.add_argument("--steps", choices=STEPS, help="of a turn")
    parser.add_argument("--batch", type=int, help="of a turn")
    parser.add_argument("--turn", type=Path, help="used by the measurement itself")
    given = parser.parse_args()
    if given.turn is not None:
        turn(given.epochs, given.threads, given.steps, given.batch, given.turn)
        return
    neighbours = Neighbours()
    taken = neighbours.cores_taken()
    print(f"{taken:.1f} cores were taken by others when it began; {given.rounds} rounds")
    seconds, found = {}, {}
    for steps, batch in itertools.product(STEPS, BATCHES):
        name = f"{steps}, batches of {batch}"
        seconds[name] = taken_in_turns(given.rounds, given.epochs, steps, batch)
        found[name] = ratios(seconds[name])
        for way, each in seconds[name].items():
            middle = statistics.median(each)
            print(f"{name:26} {way:32} {middle:.3f} s an epoch [{min(each):.3f}, {max(each):.3f}]")
        print(found[name], flush=True)
    record = {
        "command": f"python benchmarks/ranks.py --rounds {given.rounds} --epochs {given.epochs}",
        "machine": machine(),
        "cores_taken_by_others": round(taken, 2),
        "seconds_an_epoch": seconds,
        "times_the_throughput": found,
    }
    write_json(RESULTS, record)


if __name__ == "__main__":
    main()
