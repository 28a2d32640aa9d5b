r"""The variance of every latent dimension under the model, the unit in which its posterior means move.

    Var p(z_u) = E Var p(z_u | .) + Var E p(z_u | .)

over the data and draws of a run: of a prior that is the same for all of them it is that prior's own variance, and
of one that depends on other latents or on covariates that of what they make of it. Where p states no variance it is
taken by draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from ppl_vae.inference.pair.latent_coordinates import coordinates, laid_out
from ppl_vae.inference.pair.supports import bare
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.own_law import states

#: Draws of a prior that states no variance: their variance is known to sqrt(2 / 4096), 2%, of a normal one.
DRAWS = 4096


def prior_moments(terms: Terms) -> Tensor:
    """E p(z_u | .) and E p(z_u^2 | .) of every datum, all sites one after the other: [2, N, U].

    NaN or infinite where p has no variance, or can neither state it nor be drawn.
    """
    sites = ((site.p, site.value) for site in terms.sites.values())
    return torch.cat([_moments(p, value) for p, value in sites if p is not None], -1)


def prior_variance(moments: Sequence[Tensor]) -> Tensor:
    """The variance of every dimension from the moments of batches of data; 1 where there is none: [U]."""
    mean, square = torch.cat(list(moments), 1).mean(1)
    # Where a prior has no variance, Burda's absolute threshold is the only one.
    return (square - mean.square()).nan_to_num(1.0, posinf=1.0, neginf=1.0).clamp(min=0.0)


def _moments(p: Distribution, value: Tensor) -> Tensor:
    mean, variance = (coordinates(laid_out(each.double(), value)) for each in _stated(p) or _drawn(p, value))
    return torch.stack([mean.mean(0), (variance + mean.square()).mean(0)])


def _stated(p: Distribution) -> tuple[Tensor, Tensor] | None:
    """The mean and variance of p in closed form; None where it has none that can be believed."""
    p = bare(p)
    if isinstance(p, Categorical):
        index = torch.arange(p.probs.shape[-1], device=p.probs.device)
        mean = (p.probs * index).sum(-1)
        return mean, (p.probs * (index - mean.unsqueeze(-1)).square()).sum(-1)
    if not (states(p, "mean") and states(p, "variance")):
        return None
    try:
        return p.mean, p.variance
    except NotImplementedError:
        return None


def _drawn(p: Distribution, value: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and variance of p by draws that move no other random number."""
    copies = math.ceil(DRAWS / value.shape[:2].numel())
    with torch.random.fork_rng([value.device] if value.is_cuda else []):
        try:
            draws = p.sample((copies,)).double()
        except NotImplementedError:
            unknown = value.new_full((), math.nan, dtype=torch.double)
            return unknown, unknown
    return draws.mean(0), draws.var(0, correction=0)
