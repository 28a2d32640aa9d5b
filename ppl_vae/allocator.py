"""Memory that the C library keeps between one pass and the next."""

from __future__ import annotations

import functools

import torch

# Of a block that glibc still adapts to: its limit, 32 MB, lies just above.
BYTES = (32 << 20) - (64 << 10)


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of what is freed, where it would give back what a pass frees, to ask for it anew.

    The system clears each page before it gives it again, which is a tenth of the time of importance weights on
    images. glibc raises its limit to twice the size of a large block that was freed (mallopt(3), M_MMAP_THRESHOLD),
    so one is made and freed, and no page of it is touched. Elsewhere nothing happens.
    """
    torch.empty(BYTES, dtype=torch.uint8)
