"""The effect of ``poutine.scale`` and ``poutine.mask`` in a user's programs on a site.

A scale is a weight of a loss, as in KL annealing, and no part of p or q: a loss is multiplied by it, what is
told as an ELBO or as log p(x) is not. A mask leaves a site's densities of some data out of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import Distribution, Independent

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.levels import Standing
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.recording import is_recording

if TYPE_CHECKING:
    from ppl_vae.inference.pair.terms import Observation, Site, Terms


def own_scales(
    guide_sites: Mapping[str, TraceSite], latent: Mapping[str, TraceSite], nodes: Mapping[str, TraceSite]
) -> dict[str, Tensor | float]:
    """Every site's scale apart from its plates'; scale and mask must be the same in guide and model.

    Raises:
        ModelError: they are not; the site is named.
    """
    scales = {name: own_scale(node) for name, node in nodes.items()}
    for name, node in guide_sites.items():
        if not _same(own_scale(node), scales[name]):
            raise ModelError(
                f"site {name!r} is scaled by {own_scale(node)} in the guide but by {scales[name]} in the model; "
                "scale both alike, or leave the scaling out and use an objective such as inf.Beta"
            )
        if name in latent and not _same_mask(_mask_of(node), _mask_of(latent[name])):
            raise ModelError(f"site {name!r} is masked differently in the guide and in the model; mask both alike")
    return scales


def own_scale(node: TraceSite) -> Tensor | float:
    """The site's scale without what its subsampled plates contribute, which is a part of no density of theirs."""
    scale = node["scale"]
    for frame in node["cond_indep_stack"]:
        if frame.full_size and frame.full_size != frame.size:
            scale = scale * frame.size / frame.full_size
    return scale


def is_scaled(scale: Tensor | float) -> bool:
    """Tell whether a scale differs from 1."""
    return isinstance(scale, Tensor) or abs(scale - 1.0) > 1e-9


def require_unscaled(terms: Terms) -> None:
    """Refuse terms that a ``poutine.scale`` weighs where bounds on log p(x) are compared.

    Raises:
        ModelError: a site is named.
    """
    if terms.whole is not None:
        require_unscaled(terms.whole)
    if terms.unscaled_log_likelihood is not None:
        scaled = [name for name, site in terms.sites.items() if is_scaled(site.scale)] or list(terms.observations)
        raise ModelError(
            f"site {scaled[0]!r} is scaled by poutine.scale: estimators are compared on the "
            f"bound itself; leave the "
            "scaling out of the programs and use an objective such as inf.Beta in training"
        )


def require_bound(sites: Mapping[str, Site], observations: Mapping[str, Observation], shape: torch.Size) -> None:
    """Refuse masks that take a latent site's divergence away where the data that it explains are left.

    Args:
        sites: of Terms, by name.
        observations: of Terms, by name.
        shape: [K, N].

    Raises:
        ModelError: the latent and the observed site are named.
    """
    for name, site in sites.items():
        # Pyro's obs_mask makes a latent site of the missing values, which is masked where they are not missing.
        counterpart = name.removesuffix("_unobserved") + "_observed"
        mask = value_mask(site.q, site.mask)
        if mask is None or counterpart in observations:
            continue
        kept = _filled(site.q, mask, site.standing or shape, torch.all)
        for other, observation in observations.items():
            if not observation.is_data:
                continue
            seen = value_mask(observation.p, observation.mask)
            there = _filled(observation.p, seen, observation.standing or shape, torch.any)
            if bool((there & ~kept.to(there.device)).any()):
                raise ModelError(
                    f"site {name!r} is masked for data whose {other!r} is not: without its divergence from the "
                    "prior no number is a bound on log p(x); mask both alike"
                )


def value_mask(p: Distribution, mask: Tensor | bool | None) -> Tensor | None:
    """The whole mask of a site, that of its handlers and every ``.mask(...)`` of p, also of single coordinates.

    Returns:
        What broadcasts to the site's values [*batch, *event], True where they count; None where nothing is masked.
    """
    found = None if mask is None else _over_event(mask, len(p.event_shape))
    while isinstance(p, dist.MaskedDistribution | Independent | dist.ExpandedDistribution):
        if isinstance(p, dist.MaskedDistribution):
            own = _over_event(p._mask, len(p.event_shape))
            found = own if found is None else found.to(own.device) & own
        p = p.base_dist
    return found


def _over_event(mask: Tensor | bool, event_dim: int) -> Tensor:
    """A mask [*batch] as one that broadcasts to [*batch, *event]."""
    mask = torch.as_tensor(mask)
    return mask.reshape(*mask.shape, *(1,) * event_dim) if mask.dim() else mask


def unmasked(p: Distribution) -> Distribution:
    """The distribution under ``p.mask(...)``."""
    return unmasked(p.base_dist) if isinstance(p, dist.MaskedDistribution) else p


def without_masks(p: dist.TorchDistribution) -> dist.TorchDistribution:
    """The distribution without any ``.mask(...)``, also of single coordinates."""
    if isinstance(p, dist.MaskedDistribution):
        return without_masks(p.base_dist)
    if isinstance(p, Independent | dist.ExpandedDistribution):
        base = without_masks(p.base_dist)
        if base is p.base_dist:
            return p
        if isinstance(p, Independent):
            return base.to_event(p.reinterpreted_batch_ndims)
        return base.expand(p.batch_shape)
    return p


def batch_mask(mask: Tensor | bool | None, *masked: Distribution) -> Tensor | bool | None:
    """The mask [*batch] of a site's handlers and of ``.mask(...)`` around distributions; None where none is."""
    for p in masked:
        while isinstance(p, dist.MaskedDistribution):
            own = torch.as_tensor(p._mask)
            mask = own if mask is None else torch.as_tensor(mask, device=own.device) & own
            p = p.base_dist
    return mask


def _mask_of(node: TraceSite) -> Tensor | None:
    return value_mask(node["fn"], node["mask"])


def _filled(
    p: Distribution, mask: Tensor | None, shape: torch.Size | Standing, combine: Callable[..., Tensor]
) -> Tensor:
    """A mask of values as [K, N]; ``combine`` says what their events and further plates come to."""
    mask = torch.as_tensor(True if mask is None else mask)
    for _ in range(min(len(p.event_shape), mask.dim())):
        mask = combine(mask, -1)
    if not isinstance(shape, Standing):
        return mask.expand(shape)
    mask = mask.expand(shape.batch)
    for dim in shape.summed:
        mask = combine(mask, dim, keepdim=True)
    return mask.reshape(shape.shape)


def _same_mask(a: Tensor | None, b: Tensor | None) -> bool:
    # Of a step that is being recorded no value can be looked at; eager ones came before it.
    if a is b or is_recording():
        return True
    one, other = (torch.as_tensor(True if mask is None else mask) for mask in (a, b))
    return bool((one == other.to(one.device)).all())


def _same(a: Tensor | float, b: Tensor | float) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b or is_recording() or torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b))
