r"""Hamiltonian Monte Carlo on many chains and data at once (Neal 2011), one trajectory per call.

A trajectory of L leapfrog steps of size e for the density f_b of a path, with unit mass:

    v <- v + e/2 grad log f_b(u);   L times: u <- u + e v, v <- v + e grad log f_b(u), the last by e/2 alone

and a Metropolis decision on log f_b(u) - |v|^2 / 2. Every datum has a step size of its own, a function of b that a
pilot run fits; afterwards it is frozen, because a step that followed the chain would change what the chain
leaves invariant. The step is jittered by up to a fifth, so that no trajectory closes upon itself.

Neal (2011): https://arxiv.org/abs/1206.1901
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.inference.evidence.slope import Path, Slope

JITTER = 0.2
# What Wu et al. (2017) aim at.
TARGET_ACCEPTANCE = 0.65
SMALLEST_STEP, LARGEST_STEP, FIRST_STEP = 1e-5, 10.0, 0.1
ADAPTATION_RATE = 0.3


@dataclass(frozen=True)
class ChainState:
    """The position of chains on a path, and its densities.

    Attributes:
        position: u [C, N, D].
        log_start: log f_0(u) [C, N].
        log_ratio: log r(u) [C, N].
    """

    position: Tensor
    log_start: Tensor
    log_ratio: Tensor


def state_at(path: Path, position: Tensor) -> ChainState:
    """The state of chains at u [C, N, D]."""
    with torch.no_grad():
        return ChainState(position, *path(position))


def trajectory(
    slope: Slope, state: ChainState, beta: float, step_size: Tensor, num_leapfrog: int
) -> tuple[ChainState, Tensor]:
    """Run one trajectory and its Metropolis decision, which leave f_beta invariant.

    Args:
        slope: of the path.
        state: where the chains stand.
        beta: on the path.
        step_size: e of every datum [N].
        num_leapfrog: L.

    Returns:
        The new state, and the probability with which it was accepted [C, N]; 0 where numbers overflowed.
    """
    momentum = torch.randn_like(state.position)
    jitter = 1 + JITTER * (2 * torch.rand_like(state.log_ratio) - 1)
    step = (step_size.to(jitter) * jitter).unsqueeze(-1)
    uniform = torch.rand_like(state.log_ratio)
    position = state.position
    velocity = momentum + 0.5 * step * slope.gradient(position, beta)
    for _ in range(num_leapfrog - 1):
        position = position + step * velocity
        velocity = velocity + step * slope.gradient(position, beta)
    position = position + step * velocity
    log_start, log_ratio, gradient = slope(position, beta)
    velocity = velocity + 0.5 * step * gradient
    before = state.log_start + beta * state.log_ratio - 0.5 * momentum.square().sum(-1)
    after = log_start + beta * log_ratio - 0.5 * velocity.square().sum(-1)
    acceptance = (after - before).clamp(max=0).exp().nan_to_num(0.0)
    return _choose(uniform < acceptance, ChainState(position, log_start, log_ratio), state), acceptance


def _choose(accepted: Tensor, new: ChainState, old: ChainState) -> ChainState:
    return ChainState(
        torch.where(accepted.unsqueeze(-1), new.position, old.position),
        torch.where(accepted, new.log_start, old.log_start),
        torch.where(accepted, new.log_ratio, old.log_ratio),
    )


class HMC:
    """Trajectories whose step size is a frozen function of beta: a transition for ``annealed``.

    Args:
        slope: of the path.
        betas: the grid of the pilot run [T], increasing.
        step_sizes: on the grid, of every datum [T, N].
        num_leapfrog: L.
    """

    def __init__(self, slope: Slope, betas: Tensor, step_sizes: Tensor, num_leapfrog: int) -> None:
        self.slope, self.betas, self.num_leapfrog = slope, betas, num_leapfrog
        self.log_steps = step_sizes.log()
        self.acceptance: list[Tensor] = []

    def step_size(self, beta: float) -> Tensor:
        """The step size of every datum [N], log-linear between the points of the grid."""
        right = int(torch.searchsorted(self.betas, beta).clamp(1, len(self.betas) - 1))
        low, high = float(self.betas[right - 1]), float(self.betas[right])
        share = min(max((beta - low) / (high - low), 0.0), 1.0)
        return torch.lerp(self.log_steps[right - 1], self.log_steps[right], share).exp()

    def __call__(self, state: ChainState, beta: float) -> ChainState:
        """Run one trajectory at beta."""
        state, acceptance = trajectory(self.slope, state, beta, self.step_size(beta), self.num_leapfrog)
        self.acceptance.append(acceptance.mean(0))
        return state


def pilot(slope: Slope, state: ChainState, betas: Tensor, num_leapfrog: int, warm_up: int = 20) -> HMC:
    """Adapt the step size of every datum along a path, and freeze it.

    Args:
        slope: of the path.
        state: of a few chains at beta = 0; they are used up.
        betas: of the pilot run [T], increasing.
        num_leapfrog: L.
        warm_up: trajectories at the first beta before the walk begins.
    """
    log_step = torch.full_like(state.log_ratio[0], math.log(FIRST_STEP))
    steps = []
    for index, beta in enumerate([float(betas[0])] * warm_up + betas.tolist()):
        state, acceptance = trajectory(slope, state, beta, log_step.exp(), num_leapfrog)
        if index >= warm_up:
            steps.append(log_step)
        log_step = log_step + ADAPTATION_RATE * (acceptance.mean(0) - TARGET_ACCEPTANCE)
        log_step = log_step.clamp(math.log(SMALLEST_STEP), math.log(LARGEST_STEP))
    return HMC(slope, betas, torch.stack(steps).exp(), num_leapfrog)
