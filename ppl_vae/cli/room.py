"""Judge whether this machine has the memory for what was asked, before any of it is taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ppl_vae.checks import require_memory

if TYPE_CHECKING:
    from ppl_vae.models.program_pair import ProgramPair
    from ppl_vae.recipes.recipe import Recipe

# Weights, gradients and the two moments of Adam.
COPIES_IN_TRAINING = 4
# What one pass holds at once: draws, features, parameters of p(x|z), densities.
TENSORS_OF_A_PASS = 4
BYTES = 4
CALLS_OF_ANY_MODEL = 10**6


def require_room_to_train(make: Callable[[], Recipe]) -> None:
    """Refuse a model whose training this machine cannot hold.

    Args:
        make: makes it; called where tensors have no memory. What it raises is left to the call that is meant.

    Raises:
        ModelError: the memory needed and that of the machine.
    """
    import torch

    from ppl_vae.models.stored.shapes_only import ShapesOnly

    try:
        with torch.device("meta"), ShapesOnly(CALLS_OF_ANY_MODEL):
            parameters = list(make().vae.parameters())
    except Exception:
        # Not swallowed: the same call is made again for good.
        return
    needed = COPIES_IN_TRAINING * sum(p.numel() * p.element_size() for p in parameters)
    require_memory("training this model (weights, gradients and Adam's moments)", needed)


def require_room_for_draws(vae: ProgramPair, option: str, num_particles: int | None) -> None:
    """Refuse so many draws of one datum that this machine cannot hold a pass over them.

    Raises:
        ModelError: the memory needed and that of the machine.
    """
    if num_particles is None:
        return
    shape: tuple[int, ...] = vae.event_shape
    widest = max([math.prod(shape), *(len(p) for p in vae.parameters() if p.dim() > 1)])
    require_memory(f"{option} {num_particles}", TENSORS_OF_A_PASS * BYTES * widest * num_particles)


def require_room_for_samples(vae: ProgramPair, option: str, n: int) -> None:
    """Refuse more samples than this machine can hold twice, as numbers and as a file.

    Raises:
        ModelError: the memory needed and that of the machine.
    """
    require_memory(f"{option} {n}", 2 * BYTES * math.prod(vae.event_shape) * n)
