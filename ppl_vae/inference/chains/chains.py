r"""Chains on p(z | x_n) for all data at once, the model's parameters fixed.

    U(u) = - log p(x_n, z(u)) - log |dz/du|,   u the unconstrained latents

The transition is HMC in each datum's own metric, with a step size by dual averaging and a trajectory length by the
criterion of ChEES-HMC (Hoffman, Radul & Sountsov 2021). All chains of all data are one pass through the decoder.
A batched NUTS was not taken: chains that go in step wait for the deepest tree among all of them, and the criterion
finds the one length that serves them by the same gradients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ppl_vae.inference.chains.metric import Metric, metric_of
from ppl_vae.inference.chains.pilot import Adapted, pilot
from ppl_vae.inference.chains.recorded_gradient import RecordedGradient
from ppl_vae.inference.chains.transition import Kernel, State, state_at, transition
from ppl_vae.inference.pair.exchangeable import MOST_DATA, require_exchangeable
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.trace import owner


class Latents(Protocol):
    """The latent sites of N data as vectors u [C, N, D] of real numbers, with their density."""

    def log_density(self, position: Tensor) -> Tensor:
        """Evaluate log f(u) [C, N], nats."""

    def on_circle(self, position: Tensor) -> Tensor:
        """Bring angles back to [-pi, pi)."""


LatentsOf = Callable[[Tensor | None], Latents]


@dataclass(frozen=True)
class Draws:
    """The draws of chains, and how they were made.

    Attributes:
        position: u [C, S, N, D], angles in [-pi, pi).
        acceptance: mean over draws and chains, of every datum [N].
        divergences: transitions that diverged, of every datum [N].
    """

    position: Tensor
    acceptance: Tensor
    divergences: Tensor


class Chains:
    """C chains for each of N data, adapted by a pilot run; draws come from torch's current stream.

    Args:
        latents_of: the latent vector of the data whose indices are named; of all for None.
        start: u [C, N, D].
        warmup: transitions of the pilot run, about.
        metric: to begin with; None takes the spread of ``start``.
        grouped: whether data may be taken apart, to give them trajectories of their own length.

    Attributes:
        latents: the latent vector of all data.
        lengths: leapfrog steps of every datum [N].
        gradients: gradient evaluations of every datum so far, over all its chains [N].
    """

    def __init__(
        self,
        latents_of: LatentsOf,
        start: Tensor,
        warmup: int,
        metric: Metric | None = None,
        grouped: bool = True,
    ) -> None:
        self.latents_of, self.latents = latents_of, latents_of(None)
        self._slope = RecordedGradient(self.latents.log_density)
        state = state_at(self._slope, start)
        first = metric or metric_of(start)
        adapted = pilot(self._slope_of, state, warmup, first, grouped, self.latents.on_circle)
        self._kernel: Adapted = adapted
        self._state: State = adapted.state
        self.lengths = adapted.lengths
        self.gradients = adapted.gradients * len(start)

    @property
    def position(self) -> Tensor:
        """Where the chains stand: u [C, N, D]."""
        return self._state.position

    def draw(self, num_samples: int, which: Tensor | None = None) -> Draws:
        """Go on with the chains of all data, or of those whose indices are given in increasing order.

        Args:
            num_samples: S transitions, each a draw.
            which: indices on the host.
        """
        data = torch.arange(len(self.lengths)) if which is None else which
        like = self._state.position
        position = like.new_empty(len(like), num_samples, len(data), like.shape[-1])
        acceptance, divergences = like.new_zeros(len(data)), like.new_zeros(len(data), dtype=torch.int64)
        for length in self.lengths[data].unique().tolist():
            places = (self.lengths[data] == length).nonzero().squeeze(1)
            here = data[places].to(like.device)
            alone = len(here) < len(self.lengths)
            state = self._state.of_data(here) if alone else self._state
            kernel = Kernel(self._kernel.step_size[here], self._kernel.metric.of_data(here), length)
            slope = self._slope_of(here if alone else None)
            places = places.to(like.device)
            for index in range(num_samples):
                moved = transition(slope, state, kernel)
                state = moved.state
                position[:, index, places] = state.position
                acceptance[places] += moved.acceptance.mean(0)
                divergences[places] += moved.diverged.sum(0)
            self._state = self._state.with_data(here, state) if alone else state
            self.gradients[data[(self.lengths[data] == length)]] += num_samples * length * len(like)
        # Chains go around circles; where their draws are is what is compared between them.
        return Draws(self.latents.on_circle(position), acceptance / num_samples, divergences)

    def _slope_of(self, which: Tensor | None) -> RecordedGradient:
        if which is None:
            return self._slope
        return RecordedGradient(self.latents_of(which).log_density)


def may_be_parted(model: Program, guide: Program, data: Batch) -> bool:
    """Tell whether some of the data may be taken without the others: programs may hold a row for each datum."""
    try:
        require_exchangeable(model, guide, tuple(part[:MOST_DATA] for part in data))
    except Exception:  # Programs with a row for each datum fail on fewer in ways of their own.
        return False
    return True


@contextlib.contextmanager
def frozen(*programs: Program) -> Iterator[None]:
    """Hold the parameters of the pair's modules constant inside: only gradients by the latents are wanted."""
    owners = [module for module in map(owner, programs) if module is not None]
    free = [parameter for module in owners for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in free:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)
