"""One block of data climbs the ladder, here or in another process."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from ppl_vae.diagnostics.infer.ladder import Checks, Climbed, climb
from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.inference.chains import frozen
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.exchangeable import MOST_DATA, require_exchangeable
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.training.compute import threads
from ppl_vae.randomness import derived_seed

# Bytes: just below the most that glibc learns to keep by itself (M_MMAP_THRESHOLD, 32 MiB).
LARGEST_KEPT = 31 << 20


def climb_elsewhere(
    model: Program,
    guide: Program,
    part: Part,
    checks: Checks,
    seed: int,
    wall: float,
    clock: float,
    num_threads: int,
) -> Climbed:
    """Climb in another process, with as many threads as the caller would use, in whose order sums are.

    Args:
        model: the generative program.
        guide: its guide.
        part: the data of the block.
        checks: as the caller has them.
        seed: of the block.
        wall: the time of day when it was sent.
        clock: the caller's monotonic clock then, by which the deadline is told.
        num_threads: of the caller.
    """
    left = checks.deadline - clock - (time.time() - wall)
    with threads(num_threads):
        return climb_block(model, guide, part, replace(checks, deadline=time.monotonic() + left), seed)


def climb_block(model: Program, guide: Program, part: Part, checks: Checks, seed: int) -> Climbed:
    """Climb with one block, whose draws depend on its own seed alone."""
    _let_the_allocator_keep_memory()
    with evaluating(model, guide, seed=seed, device=part.x.device), frozen(model, guide):
        if len(part) > 1:
            require_exchangeable(part.model, part.guide, tuple(each[:MOST_DATA] for each in part.data))
        return climb(part, checks, derived_seed(seed, 0))


def _let_the_allocator_keep_memory() -> None:
    """Free one large array, whose memory nobody touches.

    From then on the C library of Linux keeps arrays up to its size instead of giving them back after every pass,
    which makes the system hand out and clear the same pages again: a tenth of the time of ``infer`` on a processor.
    """
    torch.empty(LARGEST_KEPT, dtype=torch.uint8)
