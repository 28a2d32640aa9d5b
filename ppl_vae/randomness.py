"""Random numbers of our own: torch's global generators are left as they were found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def seeded(seed: int | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw from a stream that starts at ``seed``, on the CPU and on ``device``, inside.

    Args:
        seed: where the stream starts; None draws from the global stream as it is.
        device: the CUDA device that is drawn on too, if it is one.
    """
    if seed is None:
        yield
        return
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        reseed(seed, device)
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Start the current streams of the CPU and of ``device`` anew."""
    # torch.manual_seed would reach every CUDA device there is.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
