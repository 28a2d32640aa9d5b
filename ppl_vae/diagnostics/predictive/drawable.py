"""Replicates and data compare only where the model draws data of the kind that it was given."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.errors import DataError
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.terms import Terms


def require_drawable(terms: Terms, x: Tensor | None = None) -> None:
    """Refuse observed data that a discrete likelihood could never draw.

    Grey data under the relaxed Bernoulli are the usual case: it scores grey values, but draws 0 and 1. NaN, a
    missing coordinate, is no value and passes, and so does what is masked.

    Args:
        terms: of one run.
        x: data [N, *event_shape] that stand for those of the run, of a model with one observed site; None takes
            what the run observed.

    Raises:
        DataError: some observed value is outside the support of p(x|z); the site is named.
    """
    for name, observation in terms.observations.items():
        support = _support(observation.p)
        if support is None or not support.is_discrete or not observation.is_data:
            continue
        values = observation.value if x is None or x.shape != observation.value.shape else x
        mask = value_mask(observation.p, observation.mask)
        missing = values.isnan() if mask is None else values.isnan() | ~mask.to(values.device)
        if missing.any():
            drawn = observation.p.sample().reshape(-1, *observation.p.event_shape)[0]
            values = torch.where(missing, drawn.to(values.dtype), values)
        if not bool(support.check(values).all()):
            base = observation.p.base_dist if isinstance(observation.p, _Derived) else observation.p
            raise DataError(
                f"site {name!r}: expected data that the model can draw, found values outside the support of its "
                f"{type(base).__name__}, which do not compare with its draws; grey data under a Bernoulli: "
                "binarise them, or train with a likelihood of grey values"
            )


@runtime_checkable
class _Derived(Protocol):
    """A distribution that is made of another."""

    base_dist: object


def _support(p: dist.TorchDistribution) -> constraints.Constraint | None:
    """The support of a distribution; None where a user's own does not say."""
    try:
        return p.support
    except NotImplementedError:
        return None
