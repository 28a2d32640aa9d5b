"""The support of a distribution, and the map to it from the real numbers.

Two supports as torch and Pyro state them would mislead a chain. An angle is said to live on all real
numbers, though its density is one on the circle (-pi, pi) alone: here it stands on the circle, and a chain that
leaves at one end comes in at the other. A transformed distribution is said to live wherever its last transform
could lead, though the distribution under it may have bounds: here it lives where the transforms carry those.
"""

from __future__ import annotations

import copy
import math
from typing import Protocol, runtime_checkable

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints
from torch.distributions import TransformedDistribution as Transformed
from torch.distributions.constraints import MixtureSameFamilyConstraint
from torch.distributions.transforms import ComposeTransform, Transform

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.supports import bare

_ANGLES = (torch.distributions.VonMises, dist.SineBivariateVonMises, dist.SineSkewed)


class Wrap(Transform):
    """Wrap the real line around the circle: u to its angle in [-pi, pi). Volumes stay as they are."""

    domain = constraints.real
    codomain = constraints.interval(-math.pi, math.pi)
    bijective = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrap)

    def __hash__(self) -> int:
        return hash(Wrap)

    def _call(self, x: Tensor) -> Tensor:
        return torch.remainder(x + math.pi, 2 * math.pi) - math.pi

    def _inverse(self, y: Tensor) -> Tensor:
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero: the map keeps volumes."""
        return torch.zeros_like(x)


def is_circular(p: Distribution) -> bool:
    """Tell whether a distribution is one of angles, or a mixture of such."""
    base = bare(p)
    if isinstance(base, torch.distributions.MixtureSameFamily):
        return is_circular(base.component_distribution)
    return isinstance(base, _ANGLES)


def to_support(p: Distribution) -> Transform:
    """The map from R^d to the support of p; for a mixture, to that of its components.

    Raises:
        NotImplementedError: torch knows none.
    """
    if is_circular(p):
        return Wrap()
    base = bare(p)
    if isinstance(base, Transformed) and _is_said_real(base.support) and not _is_real(base.base_dist):
        return ComposeTransform([to_support(base.base_dist), *base.transforms])
    support = base.support
    if isinstance(support, MixtureSameFamilyConstraint):
        support = _of_all_components(support.base_constraint, -1 - len(base.event_shape))
    return biject_to(_without_end(support))


def free_shape(name: str, p: Distribution) -> torch.Size:
    """The shape of the real numbers that a draw of p takes, without the batch: [*event].

    Raises:
        ModelError: p has no such numbers, as discrete ones have none; the site is named.
    """
    kind, batch = type(bare(p)).__name__, torch.Size(p.batch_shape)
    unknown = ModelError(f"site {name!r}: {kind} has no known transform to the real numbers")
    try:
        support = p.support
    except NotImplementedError:
        raise unknown from None
    if support is None:
        raise unknown
    if support.is_discrete:
        raise ModelError(f"site {name!r} is discrete: annealing and HMC need continuous latent sites")
    try:
        # Bounds have the batch's shape: what they make of the event alone is not theirs to say.
        free = torch.Size(to_support(p).inverse_shape(batch + p.event_shape))
    except NotImplementedError:
        raise unknown from None
    return free[len(batch) :]


def require_fixed(name: str, one: Distribution, other: Distribution, value: Tensor) -> None:
    """Refuse a support that was another in another run, at other values of the other sites.

    Args:
        name: the site's.
        one: its distribution in one run, whose draw ``value`` is.
        other: in another run, with as many particles or more.
        value: a draw [*batch, *event].

    Raises:
        ModelError: it depends on another site; the site is named.
    """
    here, there = to_support(one), to_support(other)
    free = torch.zeros_like(here.inv(value))
    if not torch.equal(*torch.broadcast_tensors(here(free), there(free))):
        raise ModelError(f"site {name!r}: its support depends on another latent site")


def lies_in_support(p: Distribution, value: Tensor) -> bool:
    """Tell whether all values [*batch, *event] lie in the support of p."""
    if is_circular(p):
        return bool((value.abs() <= math.pi * (1 + 1e-6)).all())
    support = p.support
    if support is None or support.is_discrete:
        return True
    return bool(support.check(value).all())


def _of_all_components(support: constraints.Constraint, dim: int) -> constraints.Constraint:
    """The support that all components of a mixture share: bounds lose the dimension of the components."""
    shared = copy.copy(support)
    for name, bound in vars(support).items():
        if isinstance(bound, constraints.Constraint):
            setattr(shared, name, _of_all_components(bound, dim))
        elif isinstance(bound, Tensor) and bound.dim() >= -dim:
            if not (bound == bound.narrow(dim, 0, 1)).all():
                raise NotImplementedError("the components have different supports")
            setattr(shared, name, bound.select(dim, 0))
    return shared


@runtime_checkable
class _Interval(Protocol):
    """A support with two ends."""

    lower_bound: Tensor | float
    upper_bound: Tensor | float


@runtime_checkable
class _Wrapped(Protocol):
    """A support of events, made of one of numbers."""

    base_constraint: constraints.Constraint


def _without_end(support: constraints.Constraint | None) -> constraints.Constraint | None:
    """Turn an interval whose upper end is infinite into the half line that it is."""
    if isinstance(support, _Interval) and torch.isinf(torch.as_tensor(support.upper_bound)).all():
        return constraints.greater_than_eq(support.lower_bound)
    return support


def _is_said_real(support: constraints.Constraint | None) -> bool:
    while isinstance(support, _Wrapped):
        support = support.base_constraint
    return support is constraints.real


def _is_real(p: Distribution) -> bool:
    """Tell whether the support of p is all real numbers, and is not only said to be."""
    base = bare(p)
    if is_circular(base) or not _is_said_real(base.support):
        return False
    return not isinstance(base, Transformed) or _is_real(base.base_dist)
