"""The pilot run of chains: step size, metric and trajectory length are adapted, then frozen.

    a sixth of the steps    step sizes, with the metric that is given
    three windows           the metric from the draws of each, and step sizes anew
    the last fifth          the number of leapfrog steps, by ``trajectory_length``

A kernel that followed the chains would change what they leave invariant, so that nothing moves afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.inference.chains.metric import Metric, metric_of
from ppl_vae.inference.chains.recorded_gradient import RecordedGradient
from ppl_vae.inference.chains.step_size import StepSizes
from ppl_vae.inference.chains.trajectory_length import MOST_GROUPS, LengthCriterion, common_lengths
from ppl_vae.inference.chains.transition import Kernel, State, transition

# Shares of the pilot: the search for a step size, the windows of the metric, and the trajectory length.
SEARCH, WINDOWS, LENGTH = 0.15, (0.15, 0.2, 0.3), 0.2
FIRST_STEP = 0.25
# Leapfrog steps while the metric is sought, and the largest number that is tried at first and at last.
PILOT_LEAPFROG, FIRST_LONGEST, LONGEST = 5, 8, 64
# The share of divergent trajectories above which a step size is halved, and how often at most.
MOST_DIVERGENCES, MOST_HALVINGS = 0.002, 3

SlopeOf = Callable[[Tensor | None], RecordedGradient]


@dataclass(frozen=True)
class Adapted:
    """The result of a pilot run.

    Attributes:
        state: where the chains stand after it.
        step_size: of every datum [N].
        metric: of every datum.
        lengths: leapfrog steps of every datum [N], on the host.
        gradients: evaluations per chain that it took of every datum [N], on the host.
    """

    state: State
    step_size: Tensor
    metric: Metric
    lengths: Tensor
    gradients: Tensor


def pilot(
    slope_of: SlopeOf,
    state: State,
    steps: int,
    metric: Metric,
    grouped: bool = True,
    home: Callable[[Tensor], Tensor] = lambda position: position,
) -> Adapted:
    """Adapt the kernel of every datum.

    Args:
        slope_of: the gradient of the data that are named; of all for None.
        state: of the chains.
        steps: transitions, about.
        metric: to begin with.
        grouped: whether data may have different lengths, which takes gradients of some data alone.
        home: brings angles back to their circle.
    """
    slope, share = slope_of(None), lambda part: max(3, round(part * steps))
    sizes = StepSizes(torch.full_like(state.log_density[0], FIRST_STEP))
    taken = share(SEARCH)
    state, _ = _window(slope, state, metric, sizes, taken)
    for part in WINDOWS:
        state, draws = _window(slope, state, metric, sizes, share(part))
        taken += share(part)
        metric = metric_of(home(draws), before=metric)
        sizes = StepSizes(sizes.averaged.clamp(0.05, 1.0))
    state, draws = _window(slope, state, metric, sizes, share(SEARCH))
    taken += share(SEARCH)
    centre = home(draws).mean(0)
    state, step_size, lengths, spent = _lengths(
        slope_of, state, metric, sizes.averaged, centre, share(LENGTH), grouped
    )
    return Adapted(state, step_size, metric, lengths, spent + taken * PILOT_LEAPFROG)


def _window(
    slope: RecordedGradient, state: State, metric: Metric, sizes: StepSizes, steps: int
) -> tuple[State, Tensor]:
    """Walk while step sizes adapt: the state, and all positions [steps * C, N, D]."""
    positions = []
    for _ in range(steps):
        moved = transition(slope, state, Kernel(sizes.now, metric, PILOT_LEAPFROG))
        state = moved.state
        sizes.add(moved.acceptance)
        positions.append(state.position)
    return state, torch.cat(positions)


def _lengths(
    slope_of: SlopeOf,
    state: State,
    metric: Metric,
    step_size: Tensor,
    centre: Tensor,
    steps: int,
    grouped: bool,
) -> tuple[State, Tensor, Tensor, Tensor]:
    """Find the number of leapfrog steps of every datum: twice as many are tried where the longest is the best.

    A step size under which trajectories diverge is halved: they have met a narrow place that the mean acceptance
    does not show.
    """
    num_data = len(step_size)
    lengths, spent = torch.zeros(num_data, dtype=torch.int64), torch.zeros(num_data, dtype=torch.int64)
    left, longest, halvings = torch.arange(num_data), FIRST_LONGEST, 0
    while True:
        which = None if len(left) == num_data else left.to(step_size.device)
        slope, part = slope_of(which), state if which is None else state.of_data(which)
        here = slice(None) if which is None else which
        kernel = Kernel(step_size[here], metric.of_data(here), longest)
        criterion = LengthCriterion(kernel, centre[here])
        for _ in range(steps):
            part, _ = criterion.walk(slope, part)
        state = part if which is None else state.with_data(which, part)
        efficiency = criterion.efficiency().cpu()
        spent[left] += steps * longest
        lengths[left] = common_lengths(efficiency, MOST_GROUPS if grouped else 1)
        diverged = (criterion.divergences > MOST_DIVERGENCES * steps * len(state.position)).cpu()
        diverged &= torch.tensor(halvings < MOST_HALVINGS)
        step_size = step_size.index_put(
            (left.to(step_size.device),), torch.where(diverged.to(step_size.device), 0.5, 1.0) * step_size[here]
        )
        halvings += 1
        left = left[(lengths[left] > 0.75 * longest) & (longest < LONGEST) | diverged]
        if not len(left):
            return state, step_size, lengths, spent
        if not grouped:
            left = torch.arange(num_data)
        longest = min(2 * longest, LONGEST)
