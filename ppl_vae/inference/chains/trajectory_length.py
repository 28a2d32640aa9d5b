r"""The number of leapfrog steps with the most effective draws for a gradient.

ChEES-HMC (Hoffman, Radul & Sountsov 2021) picks the trajectory whose proposals change the squared distance from
the centre most, E[ a (|v'|^2 - |v|^2)^2 ] over chains. A trajectory passes all shorter ones on its way, so that the
criterion is measured at every length by the same gradients, and no ascent with a rate of its own is needed. With
the variance it is a lag-one autocorrelation, and with that an efficiency,

    rho_L = 1 - E[ a_L (s' - s)^2 ] / (2 Var s),     (1 - rho_L) / (1 + rho_L) / L   effective draws a gradient

the least over s: the squared distance, and each whitened coordinate.

Hoffman, Radul & Sountsov 2021, https://proceedings.mlr.press/v130/hoffman21a.html.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.inference.chains.recorded_gradient import RecordedGradient
from ppl_vae.inference.chains.transition import DIVERGENCE, Kernel, State, chosen, drawn, energy_gain

# Proposals on the other side are worth more than independent draws for the mean, and less for what is even.
LEAST_CORRELATION = -0.5
# A datum that the common length serves at less than this share of its own best has another one.
SERVED = 0.5
MOST_GROUPS = 4
# Of lengths that are worth the same up to the noise of the criterion the longest: fewer draws are kept and judged.
NEARLY_BEST = 0.9


class LengthCriterion:
    """The efficiency of every number of leapfrog steps up to that of a kernel, while trajectories are added.

    Args:
        kernel: with the largest number.
        centre: the mean of u, of every datum [N, D].

    Attributes:
        divergences: trajectories that diverged, of every datum [N].
    """

    def __init__(self, kernel: Kernel, centre: Tensor) -> None:
        self.kernel, self.centre = kernel, centre
        num_data, dim = centre.shape
        self.jumps = centre.new_zeros(kernel.num_leapfrog, num_data, dim + 1)
        self.sums, self.squares = centre.new_zeros(num_data, dim + 1), centre.new_zeros(num_data, dim + 1)
        self.divergences, self.count = torch.zeros_like(centre[:, 0]), 0

    def walk(self, slope: RecordedGradient, state: State) -> tuple[State, Tensor]:
        """Make one transition, measured at all lengths on its way: the new state, and its acceptance [C, N]."""
        momentum, step, uniform = drawn(state, self.kernel)
        metric, position, gradient = self.kernel.metric, state.position, state.gradient
        start = metric.whiten(position - self.centre)
        travelled, radius = torch.zeros_like(start), start.square().sum(-1, keepdim=True)
        velocity = momentum
        for index in range(self.kernel.num_leapfrog):
            velocity = velocity + 0.5 * step * metric.pull(gradient)
            travelled = travelled + step * velocity
            position = position + step * metric.push(velocity)
            log_density, gradient = slope(position)
            velocity = velocity + 0.5 * step * metric.pull(gradient)
            gain = energy_gain(state.log_density, momentum, log_density, velocity)
            acceptance = gain.clamp(max=0).exp().nan_to_num(0.0)
            farther = (start + travelled).square().sum(-1, keepdim=True) - radius
            jump = acceptance.unsqueeze(-1) * torch.cat([travelled, farther], -1).square()
            self.jumps[index] += jump.nan_to_num(0.0, posinf=0.0).mean(0)
        self.divergences += (~(gain > -DIVERGENCE)).sum(0)
        now = torch.cat([start, radius], -1)
        self.sums, self.squares = self.sums + now.mean(0), self.squares + now.square().mean(0)
        self.count += 1
        return chosen(uniform < acceptance, State(position, log_density, gradient), state), acceptance

    def efficiency(self) -> Tensor:
        """Effective draws a gradient, the least over statistics: [L, N]."""
        mean = self.sums / self.count
        variance = (self.squares / self.count - mean.square()).clamp_min(torch.finfo(mean.dtype).tiny)
        correlation = 1 - (self.jumps / self.count) / (2 * variance)
        correlation = correlation.clamp(LEAST_CORRELATION, 1 - 1e-6)
        length = torch.arange(1, len(self.jumps) + 1, dtype=mean.dtype, device=mean.device)
        return ((1 - correlation) / (1 + correlation)).amin(-1) / length.unsqueeze(-1)


def common_lengths(efficiency: Tensor, most_groups: int = MOST_GROUPS) -> Tensor:
    """The number of leapfrog steps of every datum [N], of which few different ones are given.

    Args:
        efficiency: by number and datum [L, N].
        most_groups: different numbers at most.
    """
    best = efficiency.amax(0)
    lengths = torch.zeros(len(best), dtype=torch.int64, device=best.device)
    left = torch.ones_like(lengths, dtype=torch.bool)
    for group in range(most_groups):
        if not left.any():
            break
        common = _longest_of_the_best(efficiency[:, left])
        served = left & ((efficiency[common] >= SERVED * best) | (group + 1 == most_groups))
        # The mean over data may serve none of them; then the datum that it serves least has its own.
        if not served.any():
            common = int(efficiency[:, left.nonzero()[0, 0]].argmax())
            served = left & (efficiency[common] >= SERVED * best)
        lengths[served] = common + 1
        left = left & ~served
    return lengths


def _longest_of_the_best(efficiency: Tensor) -> int:
    """The last row of efficiencies [L, N] whose geometric mean is nearly the largest."""
    worth = efficiency.log().mean(1)
    return int((worth >= worth.amax() + math.log(NEARLY_BEST)).nonzero().amax())
