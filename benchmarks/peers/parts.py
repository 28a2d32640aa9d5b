"""The parts of a speed benchmark, shared by the script for the CPU and the one for CUDA."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from . import figures, footprint, growth, report, steady
from .contender import Contender, Task
from .contenders import CAPTURED, EAGER
from .core_distance import core_distance
from .machine import machine
from .torch_vae import initial_weights
from .workloads import Workload, load_images

# Where the randomness of every contender's draws is judged, besides the path of its losses.
DRAWS_JUDGED = ("digits-mlp",)
# All contenders are started afresh on this workload, ours on the others too.
FIRST_STEPS_OF_ALL = "mnist-mlp"
# Of tables that no terminal shows.
FILE_WIDTH = 150
GROWING = (EAGER, CAPTURED, "hand-eager")


class Benchmark:
    """One script's run.

    Args:
        name: of the files of its results.
        workloads: by name.
        contenders: by name.
        device: "cpu" or "cuda".
        options: of the command line.
    """

    def __init__(
        self,
        name: str,
        workloads: Mapping[str, Workload],
        contenders: Mapping[str, Contender],
        device: str,
        options: argparse.Namespace,
    ) -> None:
        self.name, self.device, self.options = name, device, options
        self.workloads = {n: w for n, w in workloads.items() if n in (options.workload or workloads)}
        self.contenders = {n: c for n, c in contenders.items() if n in (options.contender or contenders)}
        self.path = options.results / f"{name}.json"
        self.distance = core_distance() if device == "cpu" and options.threads == 2 else None
        self.console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)

    def steady(self) -> dict[str, Any]:
        """Images per second on every workload."""
        found: dict[str, Any] = {}
        for name, workload in self.workloads.items():
            task, words = self.task(workload)
            described = {"data": words, "batch": workload.batch, "particles": workload.particles,
                         "network": dict(workload.network), "latent_dim": workload.latent_dim}  # fmt: skip
            began = time.perf_counter()
            judged = name in DRAWS_JUDGED
            say = self.saying(name)
            who = self.contenders.values()
            result = steady.measure(task, who, self.options.rounds, judged, say, self.distance)
            found[name] = described | result | {"total_seconds": round(time.perf_counter() - began, 1)}
            report.show_steady(self.console, name, found[name])
        title = f"Medians and quartiles of {self.options.rounds} interleaved rounds; {self.where()}"
        figure = figures.plot_rates(found, title)
        figures.save(figure, self.options.results / f"{self.name}.png")
        return found

    def first_steps(self) -> dict[str, Any]:
        """Time to the first steps, and memory."""
        found: dict[str, Any] = {}
        for name in self.workloads:
            who = self.contenders if name == FIRST_STEPS_OF_ALL else {
                n: c for n, c in self.contenders.items() if n in (EAGER, CAPTURED)
            }  # fmt: skip
            found[name] = {}
            for contender in who.values():
                self.saying(name)(f"{contender.label} in a process of its own")
                found[name][contender.name] = self.probed(name, contender)
        report.show_first_steps(self.console, found)
        return found

    def growth(self) -> dict[str, Any]:
        """Milliseconds a step by size."""
        who = [c for n, c in self.contenders.items() if n in GROWING]
        found = growth.measure(
            who, self.options.growth_rounds, self.options.threads, self.device, self.saying("growth")
        )
        report.show_growth(self.console, found)
        figure = figures.plot_growth(found, f"MNIST MLP 784-400-20, batch 128, {self.where()}")
        figures.save(figure, self.options.results / f"{self.name}_growth.png")
        return found

    def run(self, parts: Iterable[str]) -> None:
        """The parts that were asked for; each goes to the file as soon as it is there."""
        self.options.results.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(self.options.threads)
        # Compilers and peers warn of things that are no matter of this measurement.
        warnings.simplefilter("ignore")
        for part in parts:
            began = time.perf_counter()
            found = getattr(self, part.replace("-", "_"))()
            about = {
                "seconds": round(time.perf_counter() - began, 1),
                "command": f"python {' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}",
                "rounds": self.options.growth_rounds if part == "growth" else self.options.rounds,
                "machine": machine(self.options.threads),
            }
            report.save(self.path, part, about | {"results": found})

    def probe(self, contender: str) -> dict[str, Any]:
        """One contender's first steps in this process."""
        warnings.simplefilter("ignore")
        torch.set_num_threads(self.options.threads)
        (workload,) = self.workloads.values()
        return footprint.probe(self.contenders[contender], self.task(footprint.short(workload))[0])

    def probed(self, workload: str, contender: Contender) -> dict[str, Any]:
        """The same in a fresh process."""
        arguments = [sys.argv[0], "--probe", contender.name, "--workload", workload]
        arguments += ["--threads", str(self.options.threads), "--device", self.device]
        root = ["--root", self.options.root] if self.options.root else []
        return footprint.in_fresh_process([*arguments, *root], contender.label)

    def task(self, workload: Workload) -> tuple[Task, str]:
        """What the contenders are given, and its data in words."""
        x, words = load_images(workload, self.options.root)
        return Task(workload, x, initial_weights(workload), self.options.threads, self.device), words

    def where(self) -> str:
        """Device and threads in words."""
        if self.device == "cuda":
            return torch.cuda.get_device_name()
        threads = self.options.threads
        return f"{machine()['processor']}, {threads} thread{'s' if threads > 1 else ''}"

    def saying(self, topic: str) -> Any:
        """What tells the terminal how far things are."""
        return lambda words: self.console.print(f"[dim]{time.strftime('%H:%M:%S')} {topic}: {words}[/dim]")


def common_options(parser: argparse.ArgumentParser, workloads: Iterable[str], contenders: Iterable[str]) -> None:
    """The command line of both scripts."""
    parser.add_argument("--root", help="folder with MNIST's IDX files; else PPL_VAE_DATA, else noise of its shape")
    parser.add_argument("--workload", choices=list(workloads), action="append", help="several times; default all")
    parser.add_argument("--contender", choices=list(contenders), action="append", help="several times; default all")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every contender")
    parser.add_argument("--growth-rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results", help="a folder")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
