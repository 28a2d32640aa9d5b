r"""One guide for every set of modalities that is there, made of one Gaussian expert per modality.

    product              N(0, I) prod_m q(z|x_m), normalised                                  (Wu & Goodman 2018)
    mixture              1/M sum_m q(z|x_m)                                                   (Shi et al. 2019)
    mixture-of-products  the mean over all non-empty sets S of N(0, I) prod_{m in S} q(z|x_m) (Sutter et al. 2021)

m runs over the modalities of a datum that are there. Where none is there the guide is the prior N(0, I). All are
diagonal Gaussians or mixtures of such, with densities everywhere and draws that have derivatives.

Wu & Goodman (2018), eq. 4: https://arxiv.org/abs/1802.05335
Shi, Siddharth, Paige & Torr (2019), eq. 2: https://arxiv.org/abs/1911.03393
Sutter, Daunhawer & Vogt (2021), eq. 3: https://arxiv.org/abs/2105.02470
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.models.posteriors.mixture_posterior import DiagonalMixture

Fusion = Callable[[Tensor, Tensor, Tensor], dist.TorchDistribution]


def product(loc: Tensor, scale: Tensor, present: Tensor) -> dist.TorchDistribution:
    """The normalised product of N(0, I) and the experts that are there: batch shape [N], event shape [L].

    Args:
        loc: of the experts [N, M, L].
        scale: of the experts [N, M, L].
        present: which modalities are there [N, M].
    """
    return dist.Normal(*_multiplied(loc, scale, present)).to_event(1)


def mixture(loc: Tensor, scale: Tensor, present: Tensor) -> dist.TorchDistribution:
    """The mixture of the experts that are there, in equal shares; arguments and shape as of ``product``."""
    return _mixed(loc, scale, present)


def mixture_of_products(loc: Tensor, scale: Tensor, present: Tensor) -> dist.TorchDistribution:
    """The mixture of the products over all non-empty sets of experts that are there, in equal shares."""
    number = loc.shape[-2]
    sets = torch.tensor(
        [[s >> m & 1 for m in range(number)] for s in range(1, 2**number)], device=loc.device
    ).bool()
    products = [_multiplied(loc, scale, one.expand_as(present)) for one in sets]
    locs, scales = (torch.stack(part, -2) for part in zip(*products, strict=True))
    return _mixed(locs, scales, (present.unsqueeze(-2) | ~sets).all(-1))


FUSIONS: Mapping[str, Fusion] = {
    "product": product,
    "mixture": mixture,
    "mixture-of-products": mixture_of_products,
}


def _multiplied(loc: Tensor, scale: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the product [N, L]."""
    precision = torch.where(present.unsqueeze(-1), scale.square().reciprocal(), 0.0)
    total = 1 + precision.sum(-2)
    return (precision * loc).sum(-2) / total, total.rsqrt()


def _mixed(loc: Tensor, scale: Tensor, present: Tensor) -> dist.TorchDistribution:
    """The mixture of components [N, C, L] that are there [N, C]; the prior is one more, where there is none."""
    none = ~present.any(-1, keepdim=True)
    there = torch.cat([present, none], -1)
    loc = torch.cat([loc, torch.zeros_like(loc[..., :1, :])], -2)
    scale = torch.cat([scale, torch.ones_like(scale[..., :1, :])], -2)
    # What is not there is no component: its numbers are made those of the prior, its share is 0.
    kept = there.unsqueeze(-1)
    loc, scale = torch.where(kept, loc, 0.0), torch.where(kept, scale, 1.0)
    logits = torch.where(there, 0.0, -torch.inf).to(loc)
    return DiagonalMixture(dist.Categorical(logits=logits), dist.Normal(loc, scale).to_event(1))
