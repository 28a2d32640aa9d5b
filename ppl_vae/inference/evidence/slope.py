"""The gradient that HMC climbs, recorded once as a list of tensor operations and replayed.

A run of a Pyro program costs a millisecond before a number is computed, and a chain needs thousands of them at
points that differ in nothing but their values. The recording is compared with the program at another point
before it is trusted; a program that cannot be recorded, or comes out otherwise, runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_vae.replayed import ReplayedByShape

Path = Callable[[Tensor], tuple[Tensor, Tensor]]
Evaluated = tuple[Tensor, Tensor, Tensor]


class Slope:
    """A function of u that gives log f_0(u), log r(u) and d/du [log f_0(u) + beta log r(u)] of a path.

    Args:
        path: u [C, N, D] -> log f_0, log r, [C, N] each.
        record: whether to record; else every call runs the program.
    """

    def __init__(self, path: Path, record: bool = True) -> None:
        self.path = path
        self._all = ReplayedByShape(self._run, 2, _elsewhere, record)

    def __call__(self, position: Tensor, beta: float) -> Evaluated:
        """Evaluate both log densities [C, N] and the gradient [C, N, D]; no graph is kept."""
        return self._all(position, position.new_tensor(beta))

    def gradient(self, position: Tensor, beta: float) -> Tensor:
        """The gradient alone [C, N, D]."""
        return self._all.one(position, position.new_tensor(beta))

    def _run(self, position: Tensor, beta: Tensor) -> Evaluated:
        with torch.enable_grad():
            leaf = position.detach().requires_grad_()
            log_start, log_ratio = self.path(leaf)
            (gradient,) = torch.autograd.grad((log_start + beta * log_ratio).sum(), leaf)
        return log_start.detach(), log_ratio.detach(), gradient


def _elsewhere(position: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    return 0.9 * position.flip(0) + 0.01, beta + 0.25
