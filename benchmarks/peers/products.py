"""The matrix products of a training step of an MLP, alone: what no program that uses them can be faster than.

Per layer [B, I] -> [B, O]: forward x W', gradient of the weights g' x, and gradient of the input g W where the
input is not data. Each is 2 B I O operations.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .contender import Run, Task, UnavailableError
from .workloads import Workload


@dataclass(frozen=True)
class Product:
    """left [m, k] times right [k, n] into out [m, n]."""

    left: Tensor
    right: Tensor
    out: Tensor

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.left.shape[0] * self.left.shape[1] * self.right.shape[1]


def layers(workload: Workload) -> list[tuple[int, int, bool]]:
    """(inputs, outputs, whether the input's gradient is needed) of every affine layer.

    Raises:
        UnavailableError: the network is no MLP, or draws several codes an image.
    """
    if workload.network["name"] != "mlp" or workload.particles > 1:
        raise UnavailableError("the bound is stated for an MLP with one draw")
    pixels, hidden = math.prod(workload.event_shape), tuple(workload.network["hidden"])
    down = [*zip((pixels, *hidden), hidden, strict=False)]
    heads = [(hidden[-1], workload.latent_dim)] * 2
    up = [*zip((workload.latent_dim, *hidden[::-1]), (*hidden[::-1], pixels), strict=True)]
    return [(i, o, index > 0) for index, (i, o) in enumerate([*down, *heads, *up])]


def products(workload: Workload, device: str = "cpu") -> list[Product]:
    """All products of one step, in the memory layouts that a training step meets."""
    found, batch = [], workload.batch
    for inputs, outputs, backwards in layers(workload):
        x, g = torch.rand(batch, inputs, device=device), torch.rand(batch, outputs, device=device)
        weight = torch.rand(outputs, inputs, device=device)
        found.append(Product(x, weight.t(), torch.empty_like(g)))
        found.append(Product(g.t(), x, torch.empty_like(weight)))
        if backwards:
            found.append(Product(g, weight, torch.empty_like(x)))
    return found


class Products:
    """The products of an epoch's steps and nothing else.

    ``seconds`` holds how long each product took in every epoch so far.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.parts = task, products(task.workload, task.device)
        self.seconds: list[list[float]] = []

    def run(self, epochs: int) -> Run:
        """That many epochs; the losses are none."""
        if self.task.threads is not None:
            torch.set_num_threads(self.task.threads)
        seconds = [self._epoch() for _ in range(epochs)]
        return Run(seconds, [])

    def _epoch(self) -> float:
        spent = [0.0] * len(self.parts)
        began = now = time.perf_counter()
        for _ in range(self.task.workload.steps):
            for index, part in enumerate(self.parts):
                torch.mm(part.left, part.right, out=part.out)
                if self.task.device == "cuda":
                    torch.cuda.synchronize()
                before, now = now, time.perf_counter()
                spent[index] += now - before
        self.seconds.append(spent)
        return now - began

    def peak(self) -> float:
        """Operations a second of the fastest of the products, by the median over the epochs."""
        medians = torch.tensor(self.seconds, dtype=torch.float64).median(0).values / self.task.workload.steps
        return max(part.operations / t for part, t in zip(self.parts, medians.tolist(), strict=True))


def operations_per_image(workload: Workload) -> int:
    """Of all matrix products of a step, over its batch."""
    return sum(2 * i * o * (3 if backwards else 2) for i, o, backwards in layers(workload))
