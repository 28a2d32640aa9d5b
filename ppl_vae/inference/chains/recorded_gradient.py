"""The log density of chains and its gradient, recorded once as a list of tensor operations and replayed.

A run of a Pyro program costs a millisecond before a number is computed, and chains need thousands of them. The
recording is compared with the program at another point before it is trusted; a program that cannot be recorded,
or comes out otherwise, runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_vae.replayed import recorded_or_run

LogDensity = Callable[[Tensor], Tensor]
Evaluated = tuple[Tensor, Tensor]


class RecordedGradient:
    """A function of u [C, N, D] that gives log f(u) [C, N] and its gradient [C, N, D]; no graph is kept.

    Args:
        log_density: u -> log f(u); gradients flow through it.
        record: whether to record; else every call runs the program.
    """

    def __init__(self, log_density: LogDensity, record: bool = True) -> None:
        self.log_density, self.record = log_density, record
        self._recorded: dict[torch.Size, Callable[[Tensor], Evaluated]] = {}

    def __call__(self, position: Tensor) -> Evaluated:
        """Evaluate both."""
        position = position.contiguous()  # a recording holds for the strides that it has seen
        run = self._recorded.get(position.shape)
        if run is None:
            run = self._recorded[position.shape] = self._record(position) if self.record else self._run
        return run(position)

    def _run(self, position: Tensor) -> Evaluated:
        with torch.enable_grad():
            leaf = position.detach().requires_grad_()
            log_density = self.log_density(leaf)
            (gradient,) = torch.autograd.grad(log_density.sum(), leaf)
        return log_density.detach(), gradient

    def _record(self, position: Tensor) -> Callable[[Tensor], Evaluated]:
        return recorded_or_run(self._run, [position], [0.9 * position.flip(0) + 0.01])
