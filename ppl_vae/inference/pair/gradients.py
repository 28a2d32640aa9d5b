"""One pass, two gradients: surrogates whose model part and guide part are weighted differently.

An importance-weighted estimator multiplies the gradient of each log weight by a number per particle, and
often not by the same number for the model's parameters (theta) as for the guide's (phi). Both flow from the
same densities; phi's share passes through the draws, so it is rescaled there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.inference.pair.draws import with_kept
from ppl_vae.inference.pair.terms import Terms


def scale_at_draws(terms: Terms, factor: Tensor) -> None:
    """Multiply what flows back from the densities into the draws by ``factor`` [K, N].

    The hook sits on the value that the model reads, so in a chain of draws it acts once on every path.
    """
    factor = factor.detach()
    for site in terms.sites.values():
        of_site = factor if site.standing is None else site.standing.spread(factor)
        for value in with_kept(site.read):
            if value.requires_grad:
                extra = value.dim() - of_site.dim()
                weight = of_site.reshape(*of_site.shape, *(1,) * extra)
                value.register_hook(lambda grad, weight=weight: grad * weight)


def split_surrogate(terms: Terms, model_weight: Tensor, guide_weight: Tensor) -> Tensor:
    """sum_k of weighted log weights, with other weights for theta than for phi: [N].

    Its gradient is sum_k model_weight_k d log w_k / d theta and sum_k guide_weight_k d log w_k / d phi, the
    latter with the total derivative. Needs terms traced with gradient="total" and K > 1.

    Args:
        terms: of one run.
        model_weight: [K, N], positive; a constant.
        guide_weight: [K, N], any sign; a constant.
    """
    model_weight, guide_weight = model_weight.detach(), guide_weight.detach()
    # A weight that underflowed carries nothing for theta; the floor keeps phi's ratio finite.
    model_weight = model_weight.clamp_min(torch.finfo(model_weight.dtype).tiny ** 0.5)
    scale_at_draws(terms, guide_weight / model_weight)
    model_part = terms.log_likelihood + terms.kl_weight * terms.log_prior
    return (model_weight * model_part - guide_weight * terms.kl_weight * terms.log_guide).sum(0)
