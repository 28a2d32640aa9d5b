"""Gaussian draws at two levels that do not depend on how a computation is cut into passes.

The noise of global draw m, and of local draw k at it, comes from seeds of its own. A pass over some m and k reads
what it needs, so that the same seed gives the same draws whatever the passes are. Every pass has all data.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae.inference.pair.given_noise import is_gaussian, transform
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.trace import HANDLED
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.randomness import derived_seed

# The local draws that share a seed.
TILE = 16


class TwoLevelNoise(Given):
    """Draw the Gaussian sites of a guide from the noise of m and k; given ones have their values, others draw.

    Args:
        seed: of all the noise.
        whole: the names of the global sites.
        first: the first global draw, and the first local one, of the pass.
        counts: how many of either.
        given: values of sites [m * k, *plates, *event].
    """

    def __init__(
        self,
        seed: int,
        whole: frozenset[str],
        first: tuple[int, int],
        counts: tuple[int, int],
        given: Mapping[str, Tensor],
    ) -> None:
        super().__init__(given)
        self.seed, self.whole, self.first, self.counts = seed, whole, first, counts

    def _pyro_sample(self, msg: TraceSite) -> None:
        super()._pyro_sample(msg)
        q, (num_global, num_local) = msg["fn"], self.counts
        skipped = msg["is_observed"] or msg["done"] or (msg["infer"] or {}).get("_deterministic")
        if skipped or not is_gaussian(q) or tuple(q.batch_shape[:1]) != (num_global * num_local,):
            return
        seed, shape = derived_seed(self.seed, zlib.crc32(msg["name"].encode())), q.batch_shape[1:] + q.event_shape
        rows = range(self.first[0], self.first[0] + num_global)
        if msg["name"] in self.whole:
            noise = torch.stack([_block(derived_seed(seed, m), shape, q.mean) for m in rows])
            noise = noise.repeat_interleave(num_local, 0)
        else:
            noise = torch.cat([self._local(derived_seed(seed, m), shape, q.mean) for m in rows])
        msg["value"] = transform(q, noise)
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True

    def _local(self, seed: int, shape: torch.Size, like: Tensor) -> Tensor:
        """The noise of the local draws at one global draw: [k, *shape]."""
        first, last = self.first[1], self.first[1] + self.counts[1]
        tiles = range(first // TILE, (last - 1) // TILE + 1)
        size = torch.Size((TILE, *shape))
        noise = torch.cat([_block(derived_seed(seed, 0, tile), size, like) for tile in tiles])
        start = tiles[0] * TILE
        return noise[first - start : last - start]


def _block(seed: int, shape: torch.Size, like: Tensor) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed & 0xFFFFFFFF)
    return like.new_empty(shape).normal_(generator=generator)
