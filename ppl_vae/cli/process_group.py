"""The process group of a command that torchrun has started several times; a mistake is told by one of them."""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Iterator
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING

import typer

from ppl_vae.errors import PplVaeError, RankError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

TELLER, MISTAKE = "ppl_vae/teller", 2
# A rank may wait as long as rank 0 takes to read data or to evaluate.
HOURS_TO_WAIT = 2


@contextlib.contextmanager
def process_group(device: str) -> Iterator[bool]:
    """Join the group that torchrun describes in the environment, if any; tell whether this process is its first.

    An error ends the command in every process, with one line of the first of them that has something to say.

    Args:
        device: as the command was given it; GPUs speak over nccl, CPUs over gloo.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield True
        return
    import torch
    from torch import distributed as dist
    from torch.distributed.rendezvous import rendezvous

    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    store, rank, number = next(rendezvous("env://"))
    wait = timedelta(hours=HOURS_TO_WAIT)
    dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=number, timeout=wait)
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with warnings.catch_warnings():
            if rank > 0:
                warnings.simplefilter("ignore")
            yield rank == 0
        signal.signal(signal.SIGTERM, before)
    except PplVaeError as error:
        # This process ends already, and has a line to say first.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not _is_teller(store, rank):
            raise typer.Exit(MISTAKE) from error
        raise
    finally:
        dist.destroy_process_group()


def _end(number: int, frame: FrameType | None) -> None:
    raise RankError("this rank was told to end (SIGTERM), as torchrun does where another rank has gone")


def _is_teller(store: Store, rank: int) -> bool:
    """Tell whether this process is the first to have something to say."""
    with contextlib.suppress(Exception):
        return store.compare_set(TELLER, "", str(rank)) == str(rank).encode()
    # The store has gone with the process that held it.
    return True
