"""How the time of a step grows with the number of data, the batch, the draws and the width.

The MNIST MLP, one size varied at a time, on noise of MNIST's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch

from .contender import Contender, Task, reason
from .interleave import interleave, turn
from .spread import quartiles
from .torch_vae import initial_weights
from .workloads import MNIST_MLP, Workload, mlp

# Steps an epoch: enough images to time, few where one step is long.
IMAGES, FEWEST_STEPS, MOST_STEPS = 2560, 5, 50


def with_steps(workload: Workload) -> Workload:
    """The workload with as many steps an epoch as make it worth timing."""
    steps = min(max(FEWEST_STEPS, IMAGES // (workload.batch * workload.particles)), MOST_STEPS)
    return replace(workload, size=steps * workload.batch, epochs=2)


AXES: dict[str, tuple[tuple[int, ...], Callable[[int], Workload]]] = {
    "images in the data set": ((1280, 5120, 20480), lambda n: replace(MNIST_MLP, size=n, epochs=1)),
    "images a step": ((16, 64, 256, 1024), lambda b: with_steps(replace(MNIST_MLP, batch=b, size=b))),
    "draws an image (importance-weighted)": (
        (2, 10, 50),
        lambda k: with_steps(replace(MNIST_MLP, particles=k)),
    ),
    "hidden units": ((100, 400, 1600), lambda h: with_steps(replace(MNIST_MLP, network=mlp(h)))),
}


def measure(contenders: Iterable[Contender], rounds: int, threads: int, device: str, say: Any) -> dict[str, Any]:
    """Milliseconds a step by axis, contender and size."""
    table: dict[str, Any] = {}
    for axis, (sizes, vary) in AXES.items():
        table[axis] = {}
        for size in sizes:
            say(f"{axis}: {size}")
            for contender, found in point(vary(size), contenders, rounds, threads, device).items():
                table[axis].setdefault(contender, {})[str(size)] = found
    return table


def point(workload: Workload, contenders: Iterable[Contender], rounds: int, threads: int, device: str) -> dict:
    """Milliseconds a step of every contender at one size."""
    torch.compiler.reset()
    x = torch.rand(workload.size, *workload.event_shape, generator=torch.Generator().manual_seed(0))
    task = Task(workload, x, initial_weights(workload), threads, device)
    turns, found = {}, {}
    for contender in contenders:
        try:
            training = contender.load()(task)
            training.run(1)
        except Exception as error:
            found[contender.name] = {"label": contender.label, "unavailable": reason(error)}
        else:
            turns[contender.name] = turn(training, workload)
    measured = interleave(turns, rounds)
    found |= {name: {"unavailable": why} for name, why in measured.failures.items()}
    return found | {
        name: quartiles([1e3 * workload.batch / rate for rate in rates]).rounded()
        for name, rates in measured.rates.items()
    }
