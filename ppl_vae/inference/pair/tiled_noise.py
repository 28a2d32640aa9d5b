"""Gaussian draws that do not depend on how a computation is cut into passes over data and particles.

The noise of particle k and datum n stands in a table that is filled tile by tile, each tile from a seed of its
own. A pass reads what it needs, so the same seed gives the same draws whatever the chunks are, a longer run
continues a shorter one, and a datum's draws do not depend on the data after it.
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.inference.pair.given_noise import is_gaussian, transform
from ppl_vae.inference.pair.trace import HANDLED
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.randomness import derived_seed

TILE_PARTICLES, TILE_DATA = 64, 16
# Room for as many tiles of particles in the numbering of tiles: 2^18 particles, and 2^24 data under 32 bits.
PARTICLE_TILES = 1 << 12


class TiledNoise(Messenger):
    """Draw the Gaussian sites of a guide from the table; other sites draw as they do.

    Args:
        seed: of the table.
        first_particle: where the pass stands in the table.
        first_datum: likewise.
        num_particles: K of the pass.
        num_data: N of the pass.
    """

    def __init__(self, seed: int, first_particle: int, first_datum: int, num_particles: int, num_data: int) -> None:
        super().__init__()
        self.seed = seed
        self.first = (first_particle, first_datum)
        self.shape = (num_particles, num_data)
        self.sites = 0

    def _pyro_sample(self, msg: TraceSite) -> None:
        q = msg["fn"]
        skipped = msg["is_observed"] or msg["done"] or (msg["infer"] or {}).get("_deterministic")
        if skipped or not is_gaussian(q):
            return
        draws, data = self.shape
        batch = tuple(q.batch_shape)
        # A site outside of the data plate has one draw for all data, wherever the pass stands among them.
        own = (batch[-1:] == (data,) and len(batch) <= 2) if batch else False
        if not own and batch not in ((), (1,), (draws, 1)):
            return
        first, columns = (self.first, data) if own else ((self.first[0], 0), 1)
        noise = table(derived_seed(self.seed, self.sites), first, (draws, columns), q)
        self.sites += 1
        msg["value"] = transform(
            q, noise.reshape(*batch, *q.event_shape) if not own else noise if draws > 1 else noise[0]
        )
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True


def table(seed: int, first: tuple[int, int], shape: tuple[int, int], q: dist.TorchDistribution) -> Tensor:
    """The part of a site's table from (particle, datum) ``first`` on: [K, N, *event]."""
    like = q.mean
    generator = torch.Generator(like.device)
    (k, n), event = first, q.event_shape
    rows = range(k // TILE_PARTICLES, (k + shape[0] - 1) // TILE_PARTICLES + 1)
    columns = range(n // TILE_DATA, (n + shape[1] - 1) // TILE_DATA + 1)
    noise = like.new_empty(len(rows) * TILE_PARTICLES, len(columns) * TILE_DATA, *event)
    tile = like.new_empty(TILE_PARTICLES, TILE_DATA, *event)
    tops = noise.split(TILE_PARTICLES)
    for row, top in zip(rows, tops, strict=True):
        for column, part in zip(columns, top.split(TILE_DATA, 1), strict=True):
            generator.manual_seed((seed + column * PARTICLE_TILES + row) & 0xFFFFFFFF)
            part.copy_(tile.normal_(generator=generator))
    k, n = k - rows[0] * TILE_PARTICLES, n - columns[0] * TILE_DATA
    return noise[k : k + shape[0], n : n + shape[1]]
