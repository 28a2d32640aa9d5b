r"""A search for mass that draws of a guide have never visited.

k-hat knows only what the draws have seen: with a guide on one of two modes all weights look well. So log p(x, z(u))
is climbed by Adam, in the unconstrained coordinates, from draws of the prior, their mirror images, and one draw of
the guide. A summit is a missed mode where it lies farther from the draws' mean than any of them, in their own
covariance, and its density is at least a hundredth of that of the best summit found. Modes that are low and wide
are not found so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.inference.chains.metric import metric_of
from ppl_vae.inference.chains.recorded_gradient import RecordedGradient
from ppl_vae.inference.evidence.unconstrained import LatentVector

PROBES, STEPS, RATE = 8, 60, 0.15
# Points of a pass on a processor.
MOST_POINTS = 1 << 12
MOMENTA = (0.8, 0.95)
# How much farther than the farthest draw a summit must lie, in squared distance.
MARGIN = 1.2
LEAST_DENSITY = math.log(0.01)


@dataclass(frozen=True)
class Summits:
    """Where climbs have ended.

    Attributes:
        position: u [P, n, D].
        log_density: [P, n], nats.
        gradients: evaluations that a datum took.
    """

    position: Tensor
    log_density: Tensor
    gradients: int


def climb(latents: LatentVector, start: Tensor, probes: int = PROBES, steps: int = STEPS) -> Summits:
    """Climb from draws of the prior, ``probes`` of them, and from ``start`` [1, n, D], for every datum."""
    prior = latents.prior_draw(max(probes, 2))
    centre = prior.flatten(0, 1).mean(0)
    scale = prior.flatten(0, 1).std(0).nan_to_num(1.0).clamp_min(1e-6)
    # Half of them mirror the other half, so that neither side of a symmetric model is left to chance.
    half = (probes + 1) // 2
    position = torch.cat([prior[:half], 2 * centre - prior[: probes - half], start])
    slope = RecordedGradient(latents.log_density)
    gradient_of = _in_parts(slope.gradient, position)
    first, second = torch.zeros_like(position), torch.zeros_like(position)
    for step in range(1, steps + 1):
        gradient = (gradient_of(position) * scale).nan_to_num(0.0, 0.0, 0.0)
        first = MOMENTA[0] * first + (1 - MOMENTA[0]) * gradient
        second = MOMENTA[1] * second + (1 - MOMENTA[1]) * gradient.square()
        ascent = first / (1 - MOMENTA[0] ** step) / ((second / (1 - MOMENTA[1] ** step)).sqrt() + 1e-12)
        rate = RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        position = position + rate * scale * ascent
    # An angle that went around has come to the same place.
    position = latents.on_circle(position)
    log_density = _in_parts(lambda part: slope(part)[0], position)(position)
    return Summits(
        position, log_density.nan_to_num(-torch.inf, -torch.inf, -torch.inf), (steps + 1) * len(position)
    )


def _in_parts(function: Callable[[Tensor], Tensor], like: Tensor) -> Callable[[Tensor], Tensor]:
    """A function of a few climbs of all data at a time, whose activations the allocator of a processor reuses."""
    if like.is_cuda:
        return function
    at_once = max(1, MOST_POINTS // like.shape[1])

    return lambda position: torch.cat([function(part) for part in position.split(at_once)])


def missed(summits: Summits, draws: Tensor, weight: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mark the summits that draws have missed: [P, n].

    Args:
        summits: of the climbs.
        draws: u [S, n, D].
        weight: of each, normalised [S, n].
        counted: whether a coordinate is in the density [n, D]; None where all are. Where it is not, no place is one
            that draws could miss.
    """
    metric = metric_of(draws, weight)
    mean = torch.einsum("sn,snd->nd", weight.to(draws), draws)
    farthest = metric.whiten(draws - mean).square().sum(-1).amax(0)
    position = summits.position if counted is None else torch.where(counted, summits.position, mean)
    distance = metric.whiten(position - mean).square().sum(-1)
    high = summits.log_density > summits.log_density.amax(0) + LEAST_DENSITY
    return high & (distance > MARGIN * farthest)
