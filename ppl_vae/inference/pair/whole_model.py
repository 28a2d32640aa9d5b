r"""The model alone over a whole data set: the densities of all its sites, at both levels, at given values.

    log p(g, z, x) = log p(g) + log p(y | g) + sum_n log p(z_n, x_n | g)

The values of a site have the shape that the program draws them in under the particles' plate: [K, *plates, *event].
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.pair.data_plate import frames_of
from ppl_vae.inference.pair.indices import require_indices
from ppl_vae.inference.pair.levels import Levels, find_levels
from ppl_vae.inference.pair.plates import WholePlates, one_line_refusals, particles
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.reseeding import seeding_refused
from ppl_vae.inference.pair.site_shapes import require_data_rows, require_shapes
from ppl_vae.inference.pair.terms import per_datum
from ppl_vae.inference.pair.trace import require_observed, sample_nodes, split_observed
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.registration import unregistered


@dataclass(frozen=True)
class WholeRun:
    """One run of a model over a whole data set.

    Attributes:
        latent: trace nodes of its latent sites, in its order.
        observed: trace nodes of its observed sites.
        levels: where they stand.
    """

    latent: Mapping[str, TraceSite]
    observed: Mapping[str, TraceSite]
    levels: Levels

    def log_joint(self) -> Tensor:
        """The log density log p(g, z, x) of all sites together, without the user's own scales: [K], nats."""
        return self._total({**self.latent, **self.observed})

    def log_prior(self) -> Tensor:
        """The log density of the latent sites, log p(g, z): [K], nats."""
        return self._total(self.latent)

    def log_likelihood(self) -> Tensor:
        """The log density of the observed sites, log p(x, y | g, z): [K], nats."""
        return self._total(self.observed)

    def _total(self, nodes: Mapping[str, TraceSite]) -> Tensor:
        densities = [self._of_set(name, node) for name, node in nodes.items()]
        return sum(densities[1:], start=densities[0]).squeeze(-1)

    def ordered(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values of latent sites [K, *plates, *event] as [K, N, *further plates, *event]; N is 1 of global ones."""
        found = {}
        for name, value in values.items():
            own = self.levels.standing(name)
            standing = replace(own, batch=(len(value), *own.batch[1:]))
            found[name] = standing.in_order(value, len(self.latent[name]["fn"].event_shape))
        return found

    def further_plates(self, name: str) -> tuple[str, ...]:
        """The names of a site's plates but for the data's, in the order of ``ordered``."""
        node = self.latent[name] if name in self.latent else self.observed[name]
        by_dim = {frame.dim: frame.name for frame in frames_of(node) if frame.vectorized}
        data = None if name in self.levels.whole else self.levels.standing(name).data_dim
        return tuple(by_dim[dim] for dim in sorted(by_dim) if dim != data)

    def _of_set(self, name: str, node: TraceSite) -> Tensor:
        standing = self.levels.standing(name).over_the_data()
        return per_datum(name, node["fn"].log_prob(node["value"]), standing, mask=node["mask"])


@exclusive()
def run_whole(
    model: Program,
    x: Any,
    num_draws: int,
    values: Messenger,
    nesting: int = 1,
    group_plates: frozenset[str] = frozenset(),
) -> WholeRun:
    """Run the model alone over all its data, with ``values`` setting its latent sites.

    Args:
        model: called as model(x).
        x: all the data.
        num_draws: K, in a plate to the left of the user's own.
        values: sets the latent sites, or leaves them to be drawn.
        nesting: the dimensions that the user's plates take.
        group_plates: names of plates that are known not to be the data's.

    Raises:
        ModelError: the model is refused, or a plate takes some of its members alone; the site is named.
    """
    require_indices(model)
    registration = contextlib.nullcontext() if am_i_wrapped() else unregistered()
    refused = seeding_refused("model")
    with registration, one_line_refusals(), WholePlates(x), refused, values, particles(num_draws, nesting):
        trace = poutine.trace(model).get_trace(x)
    nodes = sample_nodes(trace)
    latent, observed = split_observed(nodes)
    require_observed(observed)
    _require_all_members(nodes)
    others = group_plates | traits(model).group_plates
    levels = find_levels({}, latent, observed, num_draws, x, nesting, lambda: others)
    require_data_rows(levels.num_data, x)
    require_shapes(nodes, levels)
    return WholeRun(latent, observed, levels)


def _require_all_members(nodes: Mapping[str, TraceSite]) -> None:
    for name, node in nodes.items():
        for frame in frames_of(node):
            if frame.full_size not in (None, frame.size):
                raise ModelError(
                    f"site {name!r} stands in the plate {frame.name!r}, which takes {frame.size} of "
                    f"{frame.full_size}: the posterior of all sites needs all of them"
                )
