r"""Tests of accuracy with random points (TARP) judge the guide as a whole, not by dimension alone.

For every simulated x a reference point r is chosen without a look at z_0. The share of draws nearer to r than z_0

    f = 1/L sum_l 1[ d(z_l, r) < d(z_0, r) ]

is uniform if q is the posterior, whatever r is as long as it depends on x alone (Lemos, Coogan, Hezaveh &
Perreault-Levasseur 2023, https://arxiv.org/abs/2302.03026). It must depend on x: under a reference
that does not, a guide that ignores x and returns the prior passes. Here r is linear in x, along the covariance of x
with all 1 + L latent values taken together, so that r moves as the latents do and needs no fit. The covariance
cannot tell the truth from the draws, so f stays uniform.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.diagnostics.calibration.ranks import rank_of_first
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors


def tarp_credibility(posteriors: SimulatedPosteriors, generator: torch.Generator) -> Tensor:
    """Compute the credibility f [S] in [0, 1], with ties and steps between draws spread at random.

    Distances are Euclidean in latent dimensions scaled to unit spread over simulated values and draws together,
    which treats them alike.
    """
    values = posteriors.dimensions.double()
    pooled = values.flatten(0, 1)
    values = (values - pooled.mean(0)) / _spread(pooled)
    references = _references(posteriors.x.double().reshape(len(posteriors.x), -1), values.mean(0))
    return rank_of_first((values - references).norm(dim=-1), generator)[1]


def _references(x: Tensor, latent: Tensor) -> Tensor:
    """Project x [S, D] along its covariance with the mean latent values [S, d], to mean 0 and spread 1: [S, d]."""
    centred = torch.where(x.isnan(), 0.0, x - x.nanmean(0))
    standard = centred / _spread(centred)
    projected = standard @ (standard.mT @ (latent - latent.mean(0)))
    return projected / _spread(projected)


def _spread(values: Tensor) -> Tensor:
    """The standard deviation of every column; 1 where it is constant."""
    deviation = values.std(0)
    return torch.where(deviation > 0, deviation, 1.0)


def area_to_curve(credibility: Tensor) -> tuple[float, float]:
    r"""Compute ATC, the integral of P(f <= a) - a over a in [1/2, 1], and its standard error.

    ATC is positive where regions cover too much (a guide too wide), negative where they cover too little.
    The integral of 1[f <= a] is 1 - max(f, 1/2), so no grid is needed.
    """
    areas = 5 / 8 - credibility.clamp(min=0.5)
    return areas.mean().item(), areas.std().item() / len(areas) ** 0.5
