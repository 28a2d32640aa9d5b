"""Chains on a target: draws of all its sites, and how far they are from the truth in standard errors."""

import numpy as np
import torch

from ppl_vae.diagnostics.arviz.container import ess
from ppl_vae.inference.chains import Chains
from ppl_vae.inference.evidence.unconstrained import LatentVector
from ppl_vae.inference.pair.evaluation import evaluating


def chains_on(model, x, warmup=150, num_chains=4, seed=0):
    """Chains that have been warmed up from draws of the prior."""

    def latents_of(which):
        return LatentVector(model, x if which is None else x[which])

    with torch.no_grad(), evaluating(model, seed=seed, device=x.device):
        return Chains(latents_of, latents_of(None).prior_draw(num_chains), warmup)


def draws_of(model, x, num_samples=400, seed=0, **settings):
    """Draws [N, C, S, U] of all sites side by side, and the chains."""
    chains = chains_on(model, x, seed=seed, **settings)
    with torch.no_grad(), evaluating(model, seed=seed + 1, device=x.device):
        drawn = chains.draw(num_samples)
    values, _ = chains.latents.unpack(drawn.position.flatten(0, 1))
    flat = torch.cat([value.reshape(*value.shape[:2], -1) for value in values.values()], -1)
    return flat.reshape(*drawn.position.shape[:3], -1).permute(2, 0, 1, 3).numpy(), drawn, chains


def standard_errors_off(draws, target):
    """Differences of mean, variance and quantiles from the exact ones, in standard errors: [N, 4, U].

    A quantile is judged by the share of draws below the exact one.
    """
    rows = []
    for index, of_datum in enumerate(draws):
        mean, variance = target.mean[index], target.variance[index]
        statistics = [(of_datum, mean), ((of_datum - mean) ** 2, variance)]
        statistics += [((of_datum <= of[index]).astype(float), level) for level, of in target.quantiles.items()]
        rows.append([off(each, truth) for each, truth in statistics])
    return np.array(rows)


def off(statistic, truth):
    """The mean of a statistic [C, S, U] less the truth, in standard errors by the effective size for its mean.

    The "bulk" size is that of ranks, which forget how far out the largest values lie: of squares it is too large.
    """
    error = statistic.std((0, 1)) / np.sqrt(ess(statistic, "mean"))
    return (statistic.mean((0, 1)) - truth) / error
