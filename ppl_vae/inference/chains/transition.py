r"""One transition of Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011) for C chains on N data at once.

    v ~ N(0, I);   L times:  v <- v + e/2 A' g(u),   u <- u + e A v,   v <- v + e/2 A' g(u)

and a Metropolis decision on log f(u) - |v|^2 / 2. Every datum has a step size e and a metric A of its own; the
number L is common, so that a pass through the decoder serves all. The step is jittered by up to a fifth for each
chain, so that no trajectory closes upon itself. Nothing is read back from the device.

Neal 2011, https://arxiv.org/abs/1206.1901.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.inference.chains.metric import Metric
from ppl_vae.inference.chains.recorded_gradient import RecordedGradient

JITTER = 0.2
# The loss of energy, in nats, at which Stan and Pyro call a trajectory divergent.
DIVERGENCE = 1000.0


@dataclass(frozen=True)
class State:
    """Where chains stand.

    Attributes:
        position: u [C, N, D].
        log_density: log f(u) [C, N], nats.
        gradient: of it [C, N, D].
    """

    position: Tensor
    log_density: Tensor
    gradient: Tensor

    def of_data(self, which: Tensor) -> State:
        """Take the chains of some data."""
        return State(self.position[:, which], self.log_density[:, which], self.gradient[:, which])

    def with_data(self, which: Tensor, other: State) -> State:
        """Put the chains of some data in their places."""
        return State(
            self.position.index_copy(1, which, other.position),
            self.log_density.index_copy(1, which, other.log_density),
            self.gradient.index_copy(1, which, other.gradient),
        )


@dataclass(frozen=True)
class Kernel:
    """The parts of a transition, frozen while chains are kept.

    Attributes:
        step_size: e of every datum [N].
        metric: A of every datum.
        num_leapfrog: L.
    """

    step_size: Tensor
    metric: Metric
    num_leapfrog: int


@dataclass(frozen=True)
class Moved:
    """The outcome of a transition.

    Attributes:
        state: after it.
        acceptance: the probability with which it was accepted [C, N]; 0 where numbers overflowed.
        diverged: whether energy was lost beyond all measure [C, N].
    """

    state: State
    acceptance: Tensor
    diverged: Tensor


def state_at(slope: RecordedGradient, position: Tensor) -> State:
    """The state of chains at u [C, N, D]."""
    return State(position, *slope(position))


def transition(slope: RecordedGradient, state: State, kernel: Kernel) -> Moved:
    """Make one transition, which leaves f invariant."""
    momentum, step, uniform = drawn(state, kernel)
    metric, position, gradient = kernel.metric, state.position, state.gradient
    velocity = momentum + 0.5 * step * metric.pull(gradient)
    for _ in range(kernel.num_leapfrog - 1):
        position = position + step * metric.push(velocity)
        velocity = velocity + step * metric.pull(slope.gradient(position))
    position = position + step * metric.push(velocity)
    log_density, gradient = slope(position)
    velocity = velocity + 0.5 * step * metric.pull(gradient)
    gain = energy_gain(state.log_density, momentum, log_density, velocity)
    acceptance = gain.clamp(max=0).exp().nan_to_num(0.0)
    proposal = State(position, log_density, gradient)
    return Moved(chosen(uniform < acceptance, proposal, state), acceptance, ~(gain > -DIVERGENCE))


def drawn(state: State, kernel: Kernel) -> tuple[Tensor, Tensor, Tensor]:
    """Draw momentum [C, N, D], jittered step [C, N, 1], and the Metropolis step's uniform number [C, N]."""
    momentum = torch.randn_like(state.position)
    jitter = 1 + JITTER * (2 * torch.rand_like(state.log_density) - 1)
    return momentum, (kernel.step_size * jitter).unsqueeze(-1), torch.rand_like(state.log_density)


def energy_gain(before: Tensor, momentum: Tensor, after: Tensor, velocity: Tensor) -> Tensor:
    """The gain of log f - |v|^2 / 2 along a trajectory [C, N]; NaN where it overflowed."""
    return after - before + 0.5 * (momentum.square().sum(-1) - velocity.square().sum(-1))


def chosen(accepted: Tensor, new: State, old: State) -> State:
    """The new state of the chains that ``accepted`` [C, N] marks, the old one of the others."""
    each = accepted.unsqueeze(-1)
    return State(
        torch.where(each, new.position, old.position),
        torch.where(accepted, new.log_density, old.log_density),
        torch.where(each, new.gradient, old.gradient),
    )
