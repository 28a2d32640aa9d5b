r"""Weighted draws that are moved and stretched to the mean and covariance that their weights tell.

A guide narrower than the posterior has draws that do not reach its tails, and neither k-hat nor the weights' ess
says by how much the chosen draws then spread too little. Importance weighted moment matching (Paananen et al. 2021,
https://doi.org/10.1007/s11222-020-09982-2) mends it by evaluations of log p(x, z) alone: in the unconstrained
coordinates u, with the mean m and the root A of the covariance under q, and m', A' of them under the weights,

    u' = m' + A' A^-1 (u - m),    log q'(u') = log q(u) - log |A'| + log |A|

have a density that is known, as log q(u) = log p(x, u) - log w is, and weights of their own, whose mean is p(x)
again. Either half of the draws is moved by what the other half tells: moved by what it tells itself, it would lean
towards its own noise.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.diagnostics.infer.weighted import Weighted, weighed
from ppl_vae.errors import ModelError
from ppl_vae.inference.chains.metric import Metric, metric_of
from ppl_vae.inference.evidence.pareto import smooth
from ppl_vae.inference.evidence.unconstrained import LatentVector
from ppl_vae.inference.evidence.weight_chunks import pass_size

# A Gaussian guide with a share r of the posterior's variance has weights with k = 1 - r.
LEAST_KHAT = 0.3
# Effective draws for every coordinate of which a half makes a covariance.
DRAWS_PER_COORDINATE = 5
NOTE = "the guide's draws were moved to the mean and covariance that their weights tell"


def matched(part: Part, weighted: Weighted, least_ess: float, largest_khat: float, memory_limit: int) -> Weighted:
    """Move the draws of data that pass their checks with weights that are far from equal.

    Where the moved draws have no better weights, where a latent is discrete, an angle or masked, and where the data
    cannot be taken apart, the draws stay as they are.

    Args:
        part: the data.
        weighted: their draws.
        least_ess: the least effective sample size that passes.
        largest_khat: the largest k-hat that passes.
        memory_limit: bytes that the activations of a pass may take, roughly.
    """
    passed = (weighted.khat <= largest_khat) & (weighted.ess >= least_ess)
    which = (passed & (weighted.khat > LEAST_KHAT)).nonzero().squeeze(1).cpu()
    if not len(which):
        return weighted
    try:
        latents = part.of(which).latents()
    except ModelError:
        return weighted
    few = weighted.of(which)
    enough = few.ess >= 2 * DRAWS_PER_COORDINATE * (latents.dim + 1)
    if latents.counted is not None or latents.has_angles or not enough.any():
        return weighted
    values, log_weight = _moved(latents, few, memory_limit)
    sound = log_weight.isfinite().all(0)
    moved = weighed({**few.values, **values}, torch.where(sound, log_weight, 0.0))
    allowed = enough & sound & (moved.khat <= largest_khat)
    best = few.better_of(replace(moved, moved=torch.ones_like(few.moved)), allowed)
    return weighted.with_data(which, best)


def _moved(latents: LatentVector, weighted: Weighted, memory_limit: int) -> tuple[dict[str, Tensor], Tensor]:
    """The moved draws by site, and their log weights [S, n], NaN or infinite where there are none."""
    u, log_weight = latents.pack(weighted.values), weighted.log_weight
    half = len(u) // 2
    halves = slice(0, half), slice(half, None)
    parts = [_towards(u[here], u[other], log_weight[other]) for here, other in (halves, reversed(halves))]
    position, stretched = (torch.cat(each) for each in zip(*parts, strict=True))
    log_guide = _density(latents, u, memory_limit) - log_weight - stretched
    values, _ = latents.unpack(position)
    return values, _density(latents, position, memory_limit) - log_guide


def _towards(u: Tensor, others: Tensor, log_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Draws u [S, n, D] moved by what ``others`` and their weights tell, and the log volume's change [S, n]."""
    weight = smooth(log_weight).log_weight.exp()
    told, drawn = metric_of(others, weight), metric_of(others)
    mean = torch.einsum("sn,snd->nd", weight.to(others), others)
    position = mean + told.push(drawn.whiten(u - others.mean(0)))
    change = _log_volume(told) - _log_volume(drawn)
    return position, change.double().expand(len(u), -1)


def _log_volume(metric: Metric) -> Tensor:
    root = metric.root.diagonal(0, -1, -2) if metric.full else metric.root
    return root.log().sum(-1)


def _density(latents: LatentVector, position: Tensor, memory_limit: int) -> Tensor:
    """Evaluate log p(x, z(u)) + log |dz/du| at u [S, n, D], some draws at a time: [S, n], float64."""
    data, draws = pass_size(latents.x, len(position), memory_limit)
    at_once = max(1, draws * data // len(latents.x))
    return torch.cat([latents.log_density(each).double() for each in position.split(at_once)])
