"""The log density of chains and its gradient, recorded once as a list of tensor operations and replayed.

A run of a Pyro program costs a millisecond before a number is computed, and chains need thousands of them. The
recording is compared with the program at another point before it is trusted; a program that cannot be recorded,
or comes out otherwise, runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_vae.replayed import ReplayedByShape

LogDensity = Callable[[Tensor], Tensor]
Evaluated = tuple[Tensor, Tensor]


class RecordedGradient:
    """A function of u [C, N, D] that gives log f(u) [C, N] and its gradient [C, N, D]; no graph is kept.

    Args:
        log_density: u -> log f(u); gradients flow through it.
        record: whether to record; else every call runs the program.
    """

    def __init__(self, log_density: LogDensity, record: bool = True) -> None:
        self.log_density = log_density
        self._both = ReplayedByShape(self._run, 1, _elsewhere, record)

    def __call__(self, position: Tensor) -> Evaluated:
        """Evaluate both."""
        return self._both(position)

    def gradient(self, position: Tensor) -> Tensor:
        """The gradient alone [C, N, D]."""
        return self._both.one(position)

    def _run(self, position: Tensor) -> Evaluated:
        with torch.enable_grad():
            leaf = position.detach().requires_grad_()
            log_density = self.log_density(leaf)
            (gradient,) = torch.autograd.grad(log_density.sum(), leaf)
        return log_density.detach(), gradient


def _elsewhere(position: Tensor) -> tuple[Tensor]:
    return (0.9 * position.flip(0) + 0.01,)
