"""The log density of chains and its gradient, recorded once as a list of tensor operations and replayed.

A run of a Pyro program costs a millisecond before a number is computed, and chains need thousands of them. The
recording is compared with the program at another point before it is trusted; a program that cannot be recorded,
or comes out otherwise, runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.replayed import one_result, recorded_or_run

LogDensity = Callable[[Tensor], Tensor]
Evaluated = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Ways:
    """The calls at one shape: for both results, and for the gradient alone."""

    both: Callable[[Tensor], Evaluated]
    gradient: Callable[[Tensor], Tensor]


class RecordedGradient:
    """A function of u [C, N, D] that gives log f(u) [C, N] and its gradient [C, N, D]; no graph is kept.

    Args:
        log_density: u -> log f(u); gradients flow through it.
        record: whether to record; else every call runs the program.
    """

    def __init__(self, log_density: LogDensity, record: bool = True) -> None:
        self.log_density, self.record = log_density, record
        self._known: dict[torch.Size, _Ways] = {}

    def __call__(self, position: Tensor) -> Evaluated:
        """Evaluate both."""
        position = position.contiguous()  # a recording holds for the strides that it has seen
        return self._ways(position).both(position)

    def gradient(self, position: Tensor) -> Tensor:
        """The gradient alone [C, N, D]: what only log f is made of is left out."""
        position = position.contiguous()
        return self._ways(position).gradient(position)

    def _ways(self, position: Tensor) -> _Ways:
        ways = self._known.get(position.shape)
        if ways is None:
            both = self._record(position) if self.record else self._run
            ways = self._known[position.shape] = _Ways(both, one_result(both, 1))
        return ways

    def _run(self, position: Tensor) -> Evaluated:
        with torch.enable_grad():
            leaf = position.detach().requires_grad_()
            log_density = self.log_density(leaf)
            (gradient,) = torch.autograd.grad(log_density.sum(), leaf)
        return log_density.detach(), gradient

    def _record(self, position: Tensor) -> Callable[[Tensor], Evaluated]:
        return recorded_or_run(self._run, [position], [0.9 * position.flip(0) + 0.01])
