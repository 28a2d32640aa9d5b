"""Speed on the CPU, side by side: ours, stock Pyro, PyTorch by hand, NumPyro, pythae, interleaved in one run.

    python benchmarks/speed.py [--root FOLDER] [--part steady|first-steps|growth] [--rounds 9] [--threads 2]

All train the same VAE from the same weights on the same grey images (binary cross entropy, no binarisation) with
the same batch and Adam, and their losses are compared before anything is timed. A round gives each contender one
turn in a random order; the tables have medians with quartiles, and ratios of medians with 95% bootstrap intervals.
NumPyro and pythae are optional: pip install 'ppl_vae[bench]'. Who cannot run is listed with the reason. The
results go to benchmarks/results/speed.json, speed.png and speed_growth.png with the machine's description.
"""

from __future__ import annotations

import argparse
import json

from peers.contenders import CONTENDERS
from peers.parts import Benchmark, common_options
from peers.workloads import CPU

PARTS = ("steady", "first-steps", "growth")


def main() -> None:
    """Run the parts that were asked for and merge their results into the file."""
    workloads = {workload.name: workload for workload in CPU}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser, workloads, CONTENDERS)
    parser.add_argument("--part", choices=PARTS, action="append", help="may be given several times; default all")
    parser.add_argument("--device", choices=("cpu",), default="cpu", help="benchmarks/gpu.py is for CUDA")
    options = parser.parse_args()
    benchmark = Benchmark("speed", workloads, CONTENDERS, options.device, options)
    if options.probe:
        print(json.dumps(benchmark.probe(options.probe)))
    else:
        benchmark.run(options.part or PARTS)


if __name__ == "__main__":
    main()
