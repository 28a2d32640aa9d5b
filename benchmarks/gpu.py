"""Speed on CUDA, side by side: what benchmarks/speed.py measures, and CUDA graphs written by hand.

    python benchmarks/gpu.py [--root FOLDER] [--part steady|first-steps|growth|epoch] [--rounds 9]

The part "epoch" trains on all 60,000 images of MNIST, the last short batch included, and tells the seconds of
an epoch of ``pv.fit``. TF32 stays as torch has it. ``--device cpu`` tries the script out where there is no CUDA
device, on the CPU's sizes; what it measures is no result of this benchmark. The results go to
benchmarks/results/gpu.json, gpu.png and gpu_growth.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

import torch
from peers.contender import Task, reason
from peers.contenders import CAPTURED, CUDA_CONTENDERS, EAGER
from peers.parts import Benchmark, common_options
from peers.spread import quartiles
from peers.torch_vae import initial_weights
from peers.workloads import CPU, CUDA, load_images

PARTS = ("steady", "first-steps", "growth", "epoch")
MNIST_SIZE = 60_000


class CudaBenchmark(Benchmark):
    """With an epoch of MNIST in seconds."""

    def epoch(self) -> dict[str, Any]:
        """Seconds of ``pv.fit`` on all of MNIST, batch 128."""
        (workload,) = (w for w in (CUDA if self.device == "cuda" else CPU) if w.name == "mnist-mlp")
        size = MNIST_SIZE if self.device == "cuda" else workload.size
        x, words = load_images(replace(workload, batch=1, size=size), self.options.root)
        task = Task(workload, x, initial_weights(workload), self.options.threads, self.device)
        found: dict[str, Any] = {"data": words, "batch": workload.batch}
        for contender in (self.contenders[n] for n in (EAGER, CAPTURED) if n in self.contenders):
            try:
                seconds = contender.load()(task).run(1 + self.options.rounds).seconds[1:]
            except Exception as error:
                found[contender.name] = {"label": contender.label, "unavailable": reason(error)}
            else:
                found[contender.name] = {"label": contender.label, "seconds": quartiles(seconds).rounded()}
        self.console.print_json(json.dumps(found))
        return found


def main() -> None:
    """Run the parts that were asked for and merge their results into the file."""
    workloads = {workload.name: workload for workload in CUDA}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser, workloads, CUDA_CONTENDERS)
    parser.add_argument("--part", choices=PARTS, action="append", help="may be given several times; default all")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py needs a CUDA device, and torch sees none; benchmarks/speed.py is for the CPU")
    sizes = CUDA if options.device == "cuda" else CPU
    benchmark = CudaBenchmark("gpu", {w.name: w for w in sizes}, CUDA_CONTENDERS, options.device, options)
    if options.probe:
        print(json.dumps(benchmark.probe(options.probe)))
    else:
        benchmark.run(options.part or PARTS)


if __name__ == "__main__":
    main()
