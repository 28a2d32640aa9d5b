"""A guide whose parameters are constants, while its densities keep their dependence on the draws.

One latent site: a detached copy of its distribution will do. Several: in q(z2 | z1) the parameters shall stop
but z1 shall not, so the guide is run again at the same draws with its leaves frozen.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyro import poutine
from pyro.distributions.util import detach
from torch import Tensor


def stopped_guide(
    guide: Callable[..., Any],
    sites: dict[str, Any],
    trace: poutine.Trace,
    draws: dict[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    """Every site's q with the guide's parameters stopped but the dependence on earlier draws kept."""
    if len(sites) == 1:
        return {name: detach(node["fn"]) for name, node in sites.items()}
    leaves = leaves_of([node["fn"].log_prob(draws[name]) for name, node in sites.items()])
    with _stopped(leaves), poutine.block():
        replayed = poutine.trace(poutine.replay(guide, trace=trace)).get_trace(*args, **kwargs)
    return {name: StoppedDensity(replayed.nodes[name]["fn"], leaves) for name in sites}


@dataclass(frozen=True)
class StoppedDensity:
    """A distribution for whose density some leaves are constants."""

    q: Any
    leaves: list[Tensor]

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, in which those leaves are constants."""
        with _stopped(self.leaves):
            return self.q.log_prob(value)


def leaves_of(tensors: list[Tensor]) -> list[Tensor]:
    """Every parameter that tensors depend on, wherever it is kept: in a module, in the store, in a closure."""
    seen, found, stack = set(), [], [tensor.grad_fn for tensor in tensors]
    while stack:
        step = stack.pop()
        if step is not None and step not in seen:
            seen.add(step)
            stack.extend(parent for parent, _ in step.next_functions)
            if hasattr(step, "variable"):
                found.append(step.variable)
    return found


@contextlib.contextmanager
def _stopped(leaves: list[Tensor]) -> Iterator[None]:
    """Run a program for which some leaves are constants."""
    try:
        for leaf in leaves:
            leaf.requires_grad_(False)
        with warnings.catch_warnings():
            # pyro.module remarks on every parameter that takes no gradient.
            warnings.filterwarnings("ignore", message=".*was not registered in the param store")
            yield
    finally:
        for leaf in leaves:
            leaf.requires_grad_(True)
