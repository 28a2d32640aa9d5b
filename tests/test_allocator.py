"""Memory of passes is used again, not cleared by the system each time, where glibc is."""

import platform
import resource

import pytest
import torch

from ppl_vae.allocator import BYTES, keep_freed_memory

ROWS, COLUMNS = 1024, 784


def faults(passes):
    """Pages that the system has to clear for these passes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = torch.ones(ROWS, COLUMNS)
    for _ in range(passes):
        torch.nn.functional.softplus(x) + x
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_passes_ask_the_system_for_memory_once():
    keep_freed_memory()
    faults(2)
    pages = ROWS * COLUMNS * 4 / resource.getpagesize()
    # Of a hundred blocks each would be cleared.
    assert faults(50) < 20 * pages


def test_the_block_is_one_that_glibc_adapts_to():
    assert BYTES < 32 << 20
