"""One draw of the global sites for several draws of the local ones: M x K draws instead of M K independent pairs.

A K-sample bound on log p(x_n | g) needs K draws of z_n at one g. Draw number m K + k of the pair has the m-th draw
of every global site.
"""

from __future__ import annotations

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.trace_site import TraceSite


class SharedDraws(Messenger):
    """Give every ``repeats`` particles in a row the draws of the first of them.

    Args:
        names: the global sites.
        repeats: K.
        particle_dim: that of the particles' plate, counted from the right of the batch.
    """

    def __init__(self, names: frozenset[str], repeats: int, particle_dim: int) -> None:
        super().__init__()
        self.names, self.repeats, self.particle_dim = names, repeats, particle_dim

    def _pyro_post_sample(self, msg: TraceSite) -> None:
        if msg["name"] not in self.names or msg["is_observed"] or not isinstance(msg["value"], Tensor):
            return
        dim = self.particle_dim - len(msg["fn"].event_shape)
        if msg["value"].dim() < -dim:
            return

        def shared(draw: Tensor) -> Tensor:
            index = draw.dim() + dim
            first = draw[(slice(None),) * index + (slice(None, None, self.repeats),)]
            return first.repeat_interleave(self.repeats, index)

        msg["value"] = carried(msg["value"], shared)
