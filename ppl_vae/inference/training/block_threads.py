"""Threads that take the steps of blocks of members, each with one thread of torch.

A thread has a block for a whole epoch, so that its weights stay in the cache of one core. What computes (products,
machine code, draws) lets go of Python's lock, so that two blocks are trained at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import TracebackType

import torch
from torch import Tensor

from ppl_vae.inference.compilation.together import Together
from ppl_vae.inference.training.batches import IndexedBatches

# Between two looks at signals while threads work.
SECONDS_BETWEEN_LOOKS = 0.05
# The sizes of an epoch's batches and what the steps left behind, [S, M, 3]; None where it was told to stop.
Epoch = tuple[list[int], Tensor] | None
# Is told how many data were taken, and a loss.
Told = Callable[[int, Tensor], None]


class BlockThreads:
    """Takes the epochs of blocks; outside of its context there are no threads.

    Args:
        number: of threads; one is the caller's own.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._open, self._stopped = ExitStack(), threading.Event()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> BlockThreads:
        if self.number > 1:
            # The number of threads of a product is a thread's own.
            pool = ThreadPoolExecutor(self.number, "ppl_vae", torch.set_num_threads, (1,))
            self._pool = self._open.enter_context(pool)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._open.close()

    def take(
        self, blocks: Sequence[Together], batches: Sequence[IndexedBatches], first_step: int, told: Told
    ) -> tuple[list[int], Tensor]:
        """Take a step on every batch of each member: the sizes, and STEP_TERMS [S, M, 3].

        Args:
            blocks: of members.
            batches: of each member, in the order of the blocks.
            first_step: the number of the first step.
            told: is called in this thread after steps; what it raises ends the epoch.
        """
        of_blocks, first = [], 0
        for block in blocks:
            of_blocks.append(batches[first : first + block.count])
            first += block.count
        if self._pool is None:
            done = [self._epoch(*each, first_step, told) for each in zip(blocks, of_blocks, strict=True)]
        else:
            done = self._in_threads(self._pool, blocks, of_blocks, first_step, told)
        epochs = [epoch for epoch in done if epoch is not None]
        return epochs[0][0], torch.cat([table for _, table in epochs], 1)

    def _in_threads(
        self,
        pool: ThreadPoolExecutor,
        blocks: Sequence[Together],
        batches: Sequence[Sequence[IndexedBatches]],
        first_step: int,
        told: Told,
    ) -> list[Epoch]:
        started: list[Future[Epoch]] = [
            pool.submit(self._epoch, block, own, first_step, _nobody)
            for block, own in zip(blocks, batches, strict=True)
        ]
        waiting = set(started)
        try:
            while waiting:
                done, waiting = wait(waiting, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                for epoch in (future.result() for future in done):
                    if epoch is not None:
                        sizes, table = epoch
                        told(sum(sizes) * table.shape[1], table[-1, 0, 0])
                if not done:
                    told(0, torch.zeros(()))
        except BaseException:
            self._stopped.set()
            for future in waiting:
                future.cancel()
            wait(started)
            raise
        return [future.result() for future in started]

    @torch.inference_mode(False)
    def _epoch(self, block: Together, batches: Sequence[IndexedBatches], first_step: int, told: Told) -> Epoch:
        sizes, rows = [], []
        for size, terms in block.epoch(batches, first_step):
            sizes.append(size)
            rows.append(terms)
            told(size * block.count, terms[0, 0])
            if self._stopped.is_set():
                return None
        return sizes, torch.stack(rows)


def _nobody(data: int, loss: Tensor) -> None:
    """Tell nobody: of a block in a thread of its own the end alone is told."""
