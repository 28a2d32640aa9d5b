"""Distributions that a user derives from a class of torch or Pyro, with a density or draws of their own.

    class TruncatedNormal(dist.Normal):   # log_prob and rsample are its own; the entropy is still a normal's

What is known of the class above in closed form (its KL, entropy and mean, that a draw is loc + scale eps) is not
known of such a class. Whoever takes a closed form asks here first.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.distributions import Distribution

# By any of these a class says what its law is.
LAW = ("log_prob", "rsample", "sample")
_LIBRARIES = {"torch", "pyro", "ppl_vae"}


def lawgiver(distribution: object) -> type | None:
    """The class of the user's own that states density or draws; None where a library's class does."""
    for cls in type(distribution).__mro__:
        if cls.__module__.partition(".")[0] in _LIBRARIES:
            return None
        if any(name in vars(cls) for name in LAW):
            return cls
    return None


def layers(distribution: object) -> Iterator[object]:
    """Yield a distribution and those that it is made of: under events, masks and transforms, and of mixtures."""
    yield distribution
    for inner in ("base_dist", "component_distribution", "mixture_distribution"):
        found = getattr(distribution, inner, None)
        if isinstance(found, Distribution):
            yield from layers(found)


def keeps_law(distribution: object) -> bool:
    """Tell whether a distribution, and all that it is made of, has the law of its library's class."""
    return all(lawgiver(layer) is None for layer in layers(distribution))


def states(distribution: object, name: str) -> bool:
    """Tell whether ``entropy``, ``mean`` or the like is of the class that states the law, or of one below it."""
    return all(_states(layer, name) for layer in layers(distribution))


def _states(layer: object, name: str) -> bool:
    law = lawgiver(layer)
    stated = next((cls for cls in type(layer).__mro__ if name in vars(cls)), None)
    return law is None or (stated is not None and issubclass(stated, law))
