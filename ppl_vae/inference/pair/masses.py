"""Whether what is observed has a probability mass, whose logarithm has bits, or a density, whose bits have not."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch.distributions.constraints import Constraint

from ppl_vae.inference.pair.supports import support_of
from ppl_vae.inference.pair.terms import Observation, Terms


@runtime_checkable
class InParts(Protocol):
    """The constraint of a row whose coordinates are of different kinds."""

    supports: list[Constraint]


def has_masses(terms: Terms) -> bool:
    """Tell whether all data that are observed, at both levels, have a mass."""
    data = (site for level in terms.levels for site in level.observations.values() if site.is_data)
    return all(is_mass(site) for site in data)


def is_mass(site: Observation) -> bool:
    """Tell whether an observed site has a mass, in every coordinate; one that does not say is taken for one."""
    support = support_of(site.p)
    if support is None:
        return True
    return all(part.is_discrete for part in (support.supports if isinstance(support, InParts) else [support]))
