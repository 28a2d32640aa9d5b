"""Random numbers of our own: torch's global generators are left as they were found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from ppl_vae.checks import integer, whole
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive

OWN_SEED = 0x7076 << 32


@contextlib.contextmanager
def seeded(seed: int | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw from a stream that starts at ``seed``, on the CPU and on ``device``, inside; other threads wait.

    Args:
        seed: where the stream starts; None draws from the global stream as it is.
        device: the CUDA device that is drawn on too, if it is one.

    Raises:
        ModelError: ``seed`` is no integer of 64 bits.
    """
    if whole("seed", seed, least=None) is None:
        with exclusive():
            yield
        return
    assert seed is not None
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with exclusive(), torch.random.fork_rng(devices=cuda):
        reseed(seed, device)
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Start the current streams of the CPU and of ``device`` anew."""
    if not -(2**63) <= seed < 2**63:
        raise ModelError(f"seed must fit 64 bits, got {seed}")
    # torch.manual_seed would reach every CUDA device there is.
    # The CPU's looks at 32 bits; those above tell our seeds from a user's own of the same number.
    torch.default_generator.manual_seed((seed & 0xFFFFFFFF) | OWN_SEED)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def derived_seed(seed: int, *path: int) -> int:
    """A seed of 32 bits for the stream that ``path`` names under ``seed``.

    Torch's generator of the CPU looks at the lowest 32 bits of a seed alone, so that a stream cannot be told
    from another by an offset above them.

    Raises:
        ModelError: ``seed`` is no integer.

    >>> derived_seed(0, 1) != derived_seed(0, 2) != derived_seed(1, 2)
    True
    """
    words = [integer("seed", seed, least=None) & (2**64 - 1), *path]
    return int(np.random.SeedSequence(words).generate_state(1)[0])
