"""The slope of the bound by every datum's own parameters, recorded in the first steps of a fit and replayed.

A run of the programs takes milliseconds before a number is computed, and a fit takes hundreds of them. The
recording draws from the same generator by the same operations. It is made in the first step, compared with the
programs in the second, at other parameters and the same draws, and used from the third on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ppl_vae.recording import Recording
from ppl_vae.replayed import are_same, replayed


class Fitted(Protocol):
    """Posteriors with parameters of their own for every datum."""

    x: Tensor

    def log_weight(self, num_draws: int, path: bool = False) -> Tensor:
        """Compute log p(x, z) - log q(z) at fresh draws: [K, N], nats."""

    def leaves(self) -> list[Tensor]:
        """List every free parameter."""


class Climb:
    """Gives the mean bound and its slope by each free parameter, at fresh draws.

    Args:
        local: whose parameters are moved between calls, in place.
        num_particles: draws per datum and call.
    """

    def __init__(self, local: Fitted, num_particles: int) -> None:
        self.local, self.num_particles = local, num_particles
        self.leaves = local.leaves()
        self._recorded: Recording | None = None
        self._trusted, self._calls = False, 0

    def __call__(self) -> Sequence[Tensor]:
        """Evaluate: the mean over draws and data, and for each parameter the slope of minus the sum over data."""
        if self._trusted and self._recorded is not None:
            return tuple(self._recorded(*self.leaves))
        self._calls += 1
        devices = [self.local.x.device] if self.local.x.is_cuda else []
        if self._calls == 1:
            with torch.random.fork_rng(devices):
                self._recorded = self._record()
        if self._calls == 2 and self._recorded is not None:
            with torch.random.fork_rng(devices):
                again = self._replay()
            found = self._run()
            self._trusted = again is not None and are_same(again, found)
            return found
        return self._run()

    def _run(self) -> tuple[Tensor, ...]:
        bound = self.local.log_weight(self.num_particles, path=True).mean(0)
        # Only the free numbers take a gradient; the pair's own parameters are left out of it.
        slopes = torch.autograd.grad(-bound.sum(), self.leaves)
        return bound.detach().mean(), *slopes

    def _record(self) -> Recording | None:
        try:
            return replayed(lambda *_: self._run(), *self.leaves)
        except Exception:  # Whatever the recorder cannot follow, the programs themselves can do.
            return None

    def _replay(self) -> Sequence[Tensor] | None:
        assert self._recorded is not None
        try:
            return tuple(self._recorded(*self.leaves))
        except Exception:  # As where an operation takes memory of another shape at every call.
            return None
