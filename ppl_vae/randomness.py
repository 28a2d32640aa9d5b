"""Random numbers of our own: torch's global generators are left as they were found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError


@contextlib.contextmanager
def seeded(seed: int | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw from a stream that starts at ``seed``, on the CPU and on ``device``, inside.

    Args:
        seed: where the stream starts; None draws from the global stream as it is.
        device: the CUDA device that is drawn on too, if it is one.

    Raises:
        ModelError: ``seed`` is no integer of 64 bits.
    """
    if whole("seed", seed, least=None) is None:
        yield
        return
    assert seed is not None
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        reseed(seed, device)
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Start the current streams of the CPU and of ``device`` anew."""
    if not -(2**63) <= seed < 2**63:
        raise ModelError(f"seed must fit 64 bits, got {seed}")
    # torch.manual_seed would reach every CUDA device there is.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
