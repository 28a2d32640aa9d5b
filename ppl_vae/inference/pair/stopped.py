"""A guide whose parameters are constants, while its densities keep their dependence on the draws.

One latent site: a detached copy of its distribution will do. Several: in q(z2 | z1) the parameters shall stop
but z1 shall not, so the guide is run again at the same draws with its leaves frozen.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pyro import distributions as dist
from pyro import poutine
from pyro.distributions.util import detach
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.inference.pair.densities import log_density
from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.trace_site import TraceSite, sites_of


def stopped_guide(
    guide: Program,
    sites: dict[str, TraceSite],
    trace: poutine.Trace,
    draws: dict[str, Tensor],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    inputs: frozenset[str] = frozenset(),
) -> dict[str, dist.TorchDistribution | StoppedDensity]:
    """Every site's q with the guide's parameters stopped but the dependence on earlier draws kept.

    The draws of the sites ``inputs`` are constants for the densities of all others, as the parameters are.
    """
    if len(sites) == 1:
        return {name: detach(node["fn"]) for name, node in sites.items()}
    leaves = leaves_of([node["fn"].log_prob(draws[name]) for name, node in sites.items()])
    again = _replayed(guide, trace, leaves, args, kwargs)
    fixed = _replayed(guide, trace, leaves, args, kwargs, inputs) if inputs else again
    return {name: StoppedDensity((again if name in inputs else fixed)[name]["fn"], leaves) for name in sites}


def _replayed(
    guide: Program,
    trace: poutine.Trace,
    leaves: list[Tensor],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    constants: frozenset[str] = frozenset(),
) -> Mapping[str, TraceSite]:
    with _stopped(leaves), poutine.block(), _Constant(constants):
        return sites_of(poutine.trace(poutine.replay(guide, trace=trace)).get_trace(*args, **kwargs))


class _Constant(Messenger):
    """Cut the draws of some sites off from what they were made of."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_post_sample(self, msg: TraceSite) -> None:
        if msg["name"] in self.names:
            msg["value"] = carried(msg["value"], Tensor.detach)


@dataclass(frozen=True)
class StoppedDensity:
    """A distribution for whose density some leaves are constants."""

    q: dist.TorchDistribution
    leaves: list[Tensor]

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, in which those leaves are constants."""
        with _stopped(self.leaves):
            return log_density(self.q, value)


@runtime_checkable
class AccumulatesGradient(Protocol):
    """The node of torch's graph at which a leaf's gradient is added up.

    Attributes:
        variable: the leaf.
    """

    variable: Tensor


def leaves_of(tensors: list[Tensor]) -> list[Tensor]:
    """Every parameter that tensors depend on, wherever it is kept: in a module, in the store, in a closure."""
    seen, found, stack = set(), [], [tensor.grad_fn for tensor in tensors]
    while stack:
        step = stack.pop()
        if step is not None and step not in seen:
            seen.add(step)
            parents = step.next_functions
            stack.extend(parent for parent, _ in parents)
            if not parents and isinstance(step, AccumulatesGradient):
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
