"""The supports of guide, prior and likelihood, compared once before numbers are reported.

A draw outside the support of the prior has no density there: torch gives -inf, NaN, or a meaningless number. Data
outside the support of the likelihood likewise. A guide that keeps to a part of the prior's support is a bound,
but its importance weights never hear of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, constraints

from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.draws import kept_on
from ppl_vae.inference.pair.point_mass import is_flat, is_point
from ppl_vae.inference.pair.scales import full_mask

# As simple constraints are called in torch; others by their class.
NAMES = {
    "real": "real", "positive": "positive", "nonnegative": "nonnegative", "unit_interval": "unit interval",
    "boolean": "0 or 1", "nonnegative_integer": "nonnegative integers", "simplex": "simplex",
}  # fmt: skip


def support_of(p: Any) -> Any:
    """The support of a distribution; None where it does not say."""
    try:
        return p.support
    except (NotImplementedError, AttributeError):
        return None


def name_of(support: Any) -> str:
    """Name a support in words."""
    support = _single(support)
    for attribute, words in NAMES.items():
        if support is getattr(constraints, attribute):
            return words
    text = str(support)
    if "lower_bound=0" in text and "upper" not in text:
        return "positive" if "Greater" in text and "Eq" not in text else "nonnegative"
    return text if len(text) < 60 else type(support).__name__


def require_supports(sites: Mapping[str, Any]) -> None:
    """Refuse latent sites whose draws lie outside the support of the prior.

    Args:
        sites: of Terms, by name.

    Raises:
        ModelError: the site, and both supports, are named.
    """
    for name, site in sites.items():
        if site.p is None or is_flat(site.p) or _masked(site.mask) or kept_on(site.value):
            continue
        prior, own = support_of(site.p), support_of(site.q)
        if prior is None or (not is_point(site.q) and _alike(own, prior)):
            continue
        if _holds_outside(prior, site.value, site.p, site.mask):
            raise ModelError(
                f"site {name!r}: the guide draws values outside the support of the prior ({name_of(prior)}); "
                f"its own is {name_of(own) if own is not None else 'not known'}"
            )


def require_cover(sites: Mapping[str, Any]) -> None:
    """Refuse guides that never visit a part of the prior's support: their weights do not add up to log p(x).

    Args:
        sites: of Terms, by name.

    Raises:
        ModelError: the site, and both supports, are named.
    """
    for name, site in sites.items():
        if site.p is None or is_flat(site.p) or is_point(site.q) or _masked(site.mask) or kept_on(site.value):
            continue
        prior, own = support_of(site.p), support_of(site.q)
        if own is None or prior is None or _alike(own, prior):
            continue
        try:
            values = site.p.expand(site.value.shape[:2]).sample()
        except NotImplementedError:
            continue
        if _holds_outside(own, values, site.q, site.mask):
            raise ModelError(
                f"site {name!r}: the guide's support is {name_of(own)} and the prior's is {name_of(prior)}: "
                "importance weights never reach the rest, so they do not estimate log p(x)"
            )


def require_data_in_support(observations: Mapping[str, Any]) -> None:
    """Refuse data that the likelihood has no density for.

    A missing coordinate, NaN, passes here: what is to become of it is the likelihood's business.

    Args:
        observations: of Terms, by name.

    Raises:
        DataError: the site and its support are named.
    """
    for name, observation in observations.items():
        support = support_of(observation.p)
        if support is None or not observation.is_data:
            continue
        if _holds_outside(support, observation.value, observation.p, full_mask(observation.p, observation.mask)):
            kind = type(_base(observation.p)).__name__
            raise DataError(
                f"site {name!r}: the data hold values outside the support of its {kind} ({name_of(support)}), "
                "which has no density there (grey pixels under a Bernoulli: binarise them)"
            )


def _holds_outside(support: Any, values: Tensor, p: Any, mask: Any) -> bool:
    try:
        inside = support.check(values)
    except (NotImplementedError, ValueError, RuntimeError):
        return False
    unknown = values.isnan() if values.is_floating_point() else torch.zeros_like(values, dtype=torch.bool)
    extra = unknown.dim() - inside.dim()
    if extra > 0:
        unknown = unknown.flatten(-extra).any(-1)
    outside = ~(inside | unknown)
    if isinstance(mask, Tensor):
        # What a mask leaves out may hold anything.
        event = outside.dim() - (values.dim() - len(p.event_shape))
        outside = outside & mask.reshape(*mask.shape, *(1,) * max(0, event))
    return bool(outside.any())


def _alike(a: Any, b: Any) -> bool:
    """Tell whether two supports are the same set, whatever their numbers are."""
    a, b = _single(a), _single(b)
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    numbers = (vars(a), vars(b))
    if any(isinstance(value, Tensor | constraints.Constraint) for found in numbers for value in found.values()):
        return False
    return bool(numbers[0] == numbers[1])


def _single(support: Any) -> Any:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _base(p: Any) -> Any:
    while isinstance(p, Independent):
        p = p.base_dist
    return p


def _masked(mask: Any) -> bool:
    return mask is False
