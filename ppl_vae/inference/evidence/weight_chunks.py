"""The chunk rule of importance weights: how many data, and how many draws of each, are in one pass."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.inference.pair.tiled_noise import TILE_DATA, TILE_PARTICLES

# What the activations of a pass take, in numbers per number of the decoded batch.
ACTIVATIONS_PER_OUTPUT = 12
# A larger one would ask the system for new pages at every pass (``allocator``).
MEMORY_LIMIT = 1 << 28


def pass_size(x: Tensor, num_samples: int, memory_limit: int = MEMORY_LIMIT) -> tuple[int, int]:
    """The number of data, and of draws per datum, in a pass; multiples of the noise's tiles where they fit."""
    coordinates = max(1, x[0].numel())
    numbers = max(
        TILE_PARTICLES * coordinates,
        integer("memory_limit", memory_limit) // (x.element_size() * ACTIVATIONS_PER_OUTPUT),
    )
    data = max(TILE_DATA, numbers // (num_samples * coordinates) // TILE_DATA * TILE_DATA)
    data = max(1, min(data, numbers // coordinates, len(x)))
    draws = max(1, min(num_samples, numbers // (data * coordinates)))
    return data, max(draws - draws % TILE_PARTICLES, 1) if TILE_PARTICLES < draws < num_samples else draws
