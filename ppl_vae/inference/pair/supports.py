"""The supports of guide, prior and likelihood, compared once before numbers are reported.

A draw outside the support of the prior has no density there: torch gives -inf, NaN, or a meaningless number. Data
outside the support of the likelihood likewise. A guide that keeps to a part of the prior's support is a bound,
but its importance weights never hear of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    OneHotCategorical,
    TransformedDistribution,
    constraints,
)
from torch.distributions.constraints import MixtureSameFamilyConstraint
from torch.distributions.transforms import ComposeTransform, Transform

from ppl_vae.declared import declared
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.draws import kept_on
from ppl_vae.inference.pair.point_mass import is_flat, is_point
from ppl_vae.inference.pair.protocols import TellsLabels
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.own_law import keeps_law

if TYPE_CHECKING:
    from ppl_vae.inference.pair.terms import Observation, Site

# The words for simple constraints; others are named by their class.
NAMES = (
    (constraints.real, "real"),
    (constraints.positive, "positive"),
    (constraints.nonnegative, "nonnegative"),
    (constraints.unit_interval, "unit interval"),
    (constraints.boolean, "0 or 1"),
    (constraints.nonnegative_integer, "nonnegative integers"),
    (constraints.simplex, "simplex"),
)


@dataclass(frozen=True)
class Bounds:
    """The optional attributes of a constraint that leaves an interval.

    Attributes:
        lower_bound: its lower end; None where it is open.
        upper_bound: its upper end.
    """

    lower_bound: Tensor | float | None = None
    upper_bound: Tensor | float | None = None


# Of every datum, to find out whether the guide visits where the prior is.
PRIOR_DRAWS = 64


def bare(p: Distribution) -> Distribution:
    """Strip a distribution of the wrappers that declare events, mask or repeat it."""
    while isinstance(p, Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        p = p.base_dist
    return p


def support_of(p: Distribution) -> constraints.Constraint | None:
    """The support of a distribution; None where it does not say."""
    try:
        return _image(p) or p.support
    except (NotImplementedError, AttributeError):
        return None


def _image(p: Distribution) -> constraints.Constraint | None:
    """Where transforms carry a base that has bounds, [lower, upper]; None where ``p.support`` is right or best.

    torch takes a transformed distribution to live wherever its last transform could lead from all real numbers: an
    exponential that is shifted, or a tanh that is scaled, would live on all of them.
    """
    p = bare(p)
    if not isinstance(p, TransformedDistribution) or type(p).support is not TransformedDistribution.support:
        return None
    bounds = _bounds(support_of(p.base_dist))
    for transform in _each(p.transforms):
        if bounds is None or transform.domain.event_dim or transform.codomain.event_dim or not transform.bijective:
            return None
        if _is_everything(bounds):
            bounds = _bounds(transform.codomain)
            continue
        ends = [transform(bound) for bound in torch.broadcast_tensors(*bounds)]
        bounds = torch.minimum(*ends), torch.maximum(*ends)
    if bounds is None or _is_everything(bounds) or any(bool(bound.isnan().any()) for bound in bounds):
        return None
    return constraints.interval(*bounds)


def _each(transforms: Iterable[Transform]) -> Iterator[Transform]:
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            yield from _each(transform.parts)
        else:
            yield transform


def _bounds(support: constraints.Constraint | None) -> tuple[Tensor, Tensor] | None:
    if isinstance(support, MixtureSameFamilyConstraint):
        return None
    support = _single(support)
    if support is None or support.is_discrete or support.event_dim:
        return None
    if support is constraints.real:
        return torch.tensor(-torch.inf), torch.tensor(torch.inf)
    bounds = declared(Bounds, support)
    lower, upper = bounds.lower_bound, bounds.upper_bound
    if lower is None and upper is None:
        return None
    return (
        torch.as_tensor(-torch.inf if lower is None else lower),
        torch.as_tensor(torch.inf if upper is None else upper),
    )


def _is_everything(bounds: tuple[Tensor, Tensor]) -> bool:
    lower, upper = bounds
    return bool((lower == -torch.inf).all() and (upper == torch.inf).all())


def name_of(support: constraints.Constraint | None) -> str:
    """Name a support in words."""
    support = _single(support)
    for constraint, words in NAMES:
        if support is constraint:
            return words
    text = str(support)
    if "lower_bound=0" in text and "upper" not in text:
        return "positive" if "Greater" in text and "Eq" not in text else "nonnegative"
    return text if len(text) < 60 else type(support).__name__


def require_supports(sites: Mapping[str, Site]) -> None:
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
        if _holds_outside(prior, site.read, value_mask(site.p, site.mask)):
            raise ModelError(
                f"site {name!r}: the guide draws values outside the support of the prior ({name_of(prior)}); "
                f"its own is {name_of(own) if own is not None else 'not known'}"
            )


def require_cover(sites: Mapping[str, Site]) -> None:
    """Refuse guides that never visit a part of the prior's support: their weights do not add up to log p(x).

    Args:
        sites: of Terms, by name.

    Raises:
        ModelError: the site, and both supports, are named.
    """
    for name, site in sites.items():
        if site.p is None or is_flat(site.p) or is_point(site.q) or _masked(site.mask) or kept_on(site.value):
            continue
        if _never_drawn(site.q, site.p):
            raise ModelError(
                f"site {name!r}: the guide gives probability 0 to a value that the prior has, for all data: its "
                "importance weights leave the rest out, so that they say nothing about log p(x)"
            )
        prior, own = support_of(site.p), support_of(site.q)
        if own is None or prior is None or _alike(own, prior):
            continue
        num_particles, *sizes = site.value.shape[:2] if site.standing is None else site.standing.batch
        try:
            values = site.p.expand((_prior_draws(site.p, num_particles, len(sizes)), *sizes)).sample()
            # As many as the guide's bounds, which every particle may have of its own.
            values = values[torch.arange(num_particles, device=values.device) % len(values)]
        except NotImplementedError:
            continue
        if _holds_outside(own, values, value_mask(site.q, site.mask)):
            raise ModelError(
                f"site {name!r}: the guide's support is {name_of(own)} and the prior's is {name_of(prior)}: "
                "importance weights never reach the rest, so they do not estimate log p(x)"
            )


def _prior_draws(p: Distribution, num_particles: int, num_plates: int) -> int:
    """How many draws of the prior are judged: few, but all where every particle has a prior of its own."""
    own = len(p.batch_shape) > num_plates and p.batch_shape[0] > 1
    return num_particles if own else min(num_particles, PRIOR_DRAWS)


def _never_drawn(q: Distribution, p: Distribution) -> bool:
    """Tell whether some category has no probability in the guide of any datum, and some in the prior.

    Only what is 0 exactly and of all data is meant: a guide that is sure of a datum is no such one.
    """
    if isinstance(q, TellsLabels):
        # A known label is an observation: the other categories are no part of the evidence.
        return False
    q, p = bare(q), bare(p)
    drawn, wanted = _probabilities(q), _probabilities(p)
    if drawn is None or wanted is None or drawn.shape[-1] != wanted.shape[-1]:
        return False
    never, ever = ((probs == 0).flatten(0, -2).all(0) for probs in (drawn, wanted))
    return bool((never & ~ever).any())


def _probabilities(p: Distribution) -> Tensor | None:
    """The probabilities of categories [*batch, C], or of one that is there or not [*batch, 1]; else None."""
    if not keeps_law(p):
        return None
    if isinstance(p, Categorical | OneHotCategorical):
        return p.probs
    if isinstance(p, Bernoulli):
        return p.probs if p.event_shape else p.probs.unsqueeze(-1)
    return None


def require_within(sites: Mapping[str, Site]) -> None:
    """Refuse guides with mass outside the prior's support, whether or not a draw fell there: their KL is infinite.

    Args:
        sites: of Terms, by name.

    Raises:
        ModelError: the site, and both supports, are named.
    """
    for name, site in sites.items():
        if site.p is None or is_flat(site.p) or is_point(site.q):
            continue
        prior, own = support_of(site.p), support_of(site.q)
        inner, outer = _bounds(own), _bounds(prior)
        if inner is None or outer is None or bool((inner[0] >= outer[0]).all() and (inner[1] <= outer[1]).all()):
            continue
        raise ModelError(
            f"site {name!r}: the guide's KL from the prior is infinite, for its support ({name_of(own)}) reaches "
            f"outside that of the prior ({name_of(prior)})"
        )


def require_data_in_support(observations: Mapping[str, Observation]) -> None:
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
        if _holds_outside(support, observation.value, value_mask(observation.p, observation.mask)):
            kind = type(bare(observation.p)).__name__
            grey = " (grey pixels: binarise them)" if _single(support) is constraints.boolean else ""
            raise DataError(
                f"site {name!r}: the data hold values outside the support of its {kind} ({name_of(support)}), "
                f"which has no density there{grey}"
            )


def _holds_outside(support: constraints.Constraint, values: Tensor, mask: Tensor | None) -> bool:
    """Tell whether some value is outside: coordinate by coordinate where they have supports of their own."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    try:
        inside = support.check(values)
    except (NotImplementedError, ValueError, RuntimeError):
        return False
    unknown = values.isnan() if values.is_floating_point() else torch.zeros_like(values, dtype=torch.bool)
    extra = unknown.dim() - inside.dim()
    if mask is not None:
        # What a mask leaves out may hold anything.
        unknown = unknown | ~mask.to(values.device)
    if extra > 0:
        unknown = unknown.flatten(-extra).any(-1)
    return bool((~(inside | unknown)).any())


def _alike(a: constraints.Constraint | None, b: constraints.Constraint | None) -> bool:
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


def _single(support: constraints.Constraint | None) -> constraints.Constraint | None:
    while isinstance(support, constraints.independent | MixtureSameFamilyConstraint):
        support = support.base_constraint
    return support


def _masked(mask: Tensor | bool | None) -> bool:
    return mask is False
