"""The values of simulated latents that a mask leaves."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.terms import Site


def counted(site: Site) -> Tensor:
    """The values of a site [1 + L, S, *event]: 0 where it is masked, so that all are equal and tell nothing."""
    mask = _mask(site)
    return site.value if mask is None else torch.where(mask, site.value, 0.0)


def _mask(site: Site) -> Tensor | None:
    """True where the values of a site count [1 + L, S, *event]; None where nothing is masked."""
    mask = value_mask(site.q, site.mask)
    if mask is None or site.standing is None:
        return None if mask is None else mask.expand(site.value.shape)
    return site.standing.in_order(mask.expand(site.read.shape), len(site.q.event_shape))


def kept(site: Site) -> Tensor:
    """True where no mask leaves a site's values out: [S, *event]."""
    mask = _mask(site)
    return torch.ones_like(site.value[0], dtype=torch.bool) if mask is None else mask[0]
