"""The gradient that HMC climbs, recorded once as a list of tensor operations and replayed.

A run of a Pyro program costs a millisecond before a number is computed, and a chain needs thousands of them at
points that differ in nothing but their values. The recording is compared with the program at another point
before it is trusted; a program that cannot be recorded, or comes out otherwise, runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.replayed import one_result, recorded_or_run

Path = Callable[[Tensor], tuple[Tensor, Tensor]]
Evaluated = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class _Ways:
    """The calls at one shape: for all results, and for the gradient alone."""

    all: Callable[[Tensor, Tensor], Evaluated]
    gradient: Callable[[Tensor, Tensor], Tensor]


class Slope:
    """A function of u that gives log f_0(u), log r(u) and d/du [log f_0(u) + beta log r(u)] of a path.

    Args:
        path: u [C, N, D] -> log f_0, log r, [C, N] each.
        record: whether to record; else every call runs the program.
    """

    def __init__(self, path: Path, record: bool = True) -> None:
        self.path, self.record = path, record
        self._known: dict[torch.Size, _Ways] = {}

    def __call__(self, position: Tensor, beta: float) -> Evaluated:
        """Evaluate both log densities [C, N] and the gradient [C, N, D]; no graph is kept."""
        position = position.contiguous()  # a recording holds for the strides that it has seen
        return self._ways(position).all(position, position.new_tensor(beta))

    def gradient(self, position: Tensor, beta: float) -> Tensor:
        """The gradient alone [C, N, D]: what only the densities are made of is left out."""
        position = position.contiguous()
        return self._ways(position).gradient(position, position.new_tensor(beta))

    def _ways(self, position: Tensor) -> _Ways:
        ways = self._known.get(position.shape)
        if ways is None:
            both = self._record(position) if self.record else self._run
            ways = self._known[position.shape] = _Ways(both, one_result(both, 2))
        return ways

    def _run(self, position: Tensor, beta: Tensor) -> Evaluated:
        with torch.enable_grad():
            leaf = position.detach().requires_grad_()
            log_start, log_ratio = self.path(leaf)
            (gradient,) = torch.autograd.grad((log_start + beta * log_ratio).sum(), leaf)
        return log_start.detach(), log_ratio.detach(), gradient

    def _record(self, position: Tensor) -> Callable[[Tensor, Tensor], Evaluated]:
        beta = position.new_tensor(0.5)
        return recorded_or_run(self._run, [position, beta], [0.9 * position.flip(0) + 0.01, beta / 2])
