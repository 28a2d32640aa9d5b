r"""Doubly reparameterised gradients of hierarchies (GDReG, Bauer & Mnih 2021).

DReG takes the score of the guide out of L_K's gradient; the score of every prior p(z_l | z_l+1) is left. Its
parameters a depend on theta. Let z~(a) be the draw that a makes of the noise that would have given z, held fixed:

    E_q g(z) d log p_a(z) / da = E_q [ d g / dz + g d/dz log (q(z) / p_a(z)) ] dz~ / da

With g_k = v_k, the normalised weight, d v_k / dz_k = v_k (1 - v_k) d log w_k / dz_k (a total derivative, through
the draws below), so that theta's gradient, c being the weight on the divergence, has for every site

    sum_k c v_k [ (1 - v_k) d log w_k / dz_k + d/dz_k log (q(z_k) / p_a(z_k)) ] dz~_k / da

The likelihood's parameters keep IWAE's gradient and the guide's have DReG's: all are unbiased for that of L_K.

Bauer & Mnih (2021), eq. 11 and section 5: https://arxiv.org/abs/2101.11046
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.estimators.two_levels import require_all_members, require_one_level
from ppl_vae.inference.pair.gradients import scale_at_draws
from ppl_vae.inference.pair.scales import is_scaled
from ppl_vae.inference.pair.stopped import leaves_of
from ppl_vae.inference.pair.terms import Gradient, Site, Terms
from ppl_vae.kl import diagonal_loc_scale


class GDReG(Estimator):
    """The bound L_K with doubly reparameterised gradients of the guide and of every prior (Bauer & Mnih 2021).

    A prior with parameters must be a diagonal Gaussian, given other latents or not. Where no prior has any, it is
    DReG. Two more backward passes through the priors than DReG.

    Args:
        num_particles: K.
    """

    target = "evidence"
    side = "lower"

    gradient: Gradient = "path"

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(num_particles)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        require_all_members("GDReG", terms)
        require_one_level("gdreg reparameterises the priors of each datum", terms)
        return log_mean_exp(terms.log_weight)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N]: DReG's, with the scores of priors replaced by their reparameterised form.

        Raises:
            ModelError: a prior with parameters is no diagonal Gaussian, or is scaled or masked; the site is named.
                Or the guide draws its sites in another order than the model.
        """
        weight = terms.log_weight.detach().softmax(0)
        # Before the hooks of the guide's own gradient sit on the draws.
        correction = self._correction(terms, weight) if torch.is_grad_enabled() else 0.0
        if len(weight) > 1:
            scale_at_draws(terms, 1 - terms.kl_weight + terms.kl_weight * weight)
        return (weight * terms.log_weight).sum(0) + correction / weight.shape[1]

    def _correction(self, terms: Terms, weight: Tensor) -> Tensor | float:
        """A scalar whose gradient by theta turns the priors' scores, summed over data, into their other form."""
        with_leaves = {
            name: leaves for name, site in terms.sites.items() if (leaves := _prior_leaves(site)) and _moves(site)
        }
        if not with_leaves:
            return 0.0
        _require_order(terms)
        sites = [terms.sites[name] for name in with_leaves]
        slopes = torch.autograd.grad(terms.log_weight.sum(), [site.draw for site in sites], retain_graph=True)
        parts = [
            _reparameterised_minus_score(site, slope.reshape(site.value.shape), weight, terms.kl_weight)
            for site, slope in zip(sites, slopes, strict=True)
        ]
        leaves = list({id(leaf): leaf for found in with_leaves.values() for leaf in found}.values())
        # The guide has its gradient already: nothing of this may reach it through draws that a prior depends on.
        cuts = [site.draw.register_hook(torch.zeros_like) for site in terms.sites.values() if _moves(site)]
        slopes = torch.autograd.grad(parts, leaves, retain_graph=True, allow_unused=True)
        for cut in cuts:
            cut.remove()
        found = zip(leaves, slopes, strict=True)
        return sum(((leaf * slope.detach()).sum() for leaf, slope in found if slope is not None), start=0.0)


def _require_order(terms: Terms) -> None:
    """Refuse a guide that draws a latent before one that its prior depends on.

    The parameters a would then depend on z itself, and the identity holds for parameters that do not.
    """
    order = tuple(name for name, site in terms.sites.items() if site.p is not None)
    if order != terms.model_order:
        raise ModelError(
            f"guide draws sites {list(order)} and model {list(terms.model_order)}: gdreg needs the model's order; "
            "use dreg"
        )


def _moves(site: Site) -> bool:
    """Tell whether a draw has a derivative by the guide's parameters, along which log w can be differentiated."""
    return site.draw.requires_grad


def _prior_leaves(site: Site) -> list[Tensor]:
    """The parameters that a site's prior depends on, those of the draws above it included.

    Raises:
        ModelError: the prior has some and is no diagonal Gaussian, or is scaled or masked.
    """
    if site.p is None:
        return []
    leaves = leaves_of([site.p.log_prob(site.read.detach())])
    if not leaves:
        return []
    try:
        diagonal_loc_scale(site.p)
    except NotImplementedError:
        raise ModelError(
            f"site {site.name!r}: gdreg reparameterises priors that are diagonal Gaussians, and this is a "
            f"{type(site.p).__name__} with parameters; use dreg"
        ) from None
    if is_scaled(site.scale) or site.mask is not None or site.standing is not None:
        raise ModelError(f"site {site.name!r}: gdreg takes no scale, mask or further plates; use dreg")
    return leaves


def _reparameterised_minus_score(site: Site, slope: Tensor, weight: Tensor, kl_weight: Tensor | float) -> Tensor:
    """The value whose derivative by the prior's parameters is the new form minus v c d log p: a scalar.

    Args:
        site: [K, N, *event].
        slope: d log w / dz, total [K, N, *event].
        weight: v [K, N].
        kl_weight: c.
    """
    if site.p is None:
        raise ModelError(f"site {site.name!r} is auxiliary: it has no prior")
    z = site.value.detach().requires_grad_()
    (own,) = torch.autograd.grad((site.q.log_prob(z) - site.p.log_prob(z)).sum(), z, retain_graph=True)
    loc, scale = diagonal_loc_scale(site.p)
    z = z.detach()
    moved = loc + scale * ((z - loc) / scale).detach()
    share = (kl_weight * weight).detach()
    wide = share.reshape(*share.shape, *(1,) * (z.dim() - share.dim()))
    rest = 1 - weight.reshape(wide.shape)
    coefficient = wide * (rest * slope + own)
    return (coefficient.detach() * moved).sum() - (share * site.p.log_prob(z)).sum()
