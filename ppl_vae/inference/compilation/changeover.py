"""Training goes on in traced steps while another process compiles; between two steps compiled ones take over.

The draws are those of an eager run throughout, and so are the weights up to the change, to the last bit; from there
on they are those of compiled steps, equal to rounding. When the change comes is a matter of time, so that two such
runs differ by rounding: a run that promises its bytes, as one that can be resumed does, compiles before it begins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ppl_vae.errors import reason_of
from ppl_vae.inference.compilation.elsewhere import Elsewhere
from ppl_vae.inference.compilation.steppers import TracedStepper
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.neighbours import cores
from ppl_vae.inference.training.steps import Steps


class Changeover:
    """Steps that are traced first and compiled later.

    Args:
        traced: takes them first; it was compared with the programs.
        elsewhere: compiles meanwhile, on a core that the steps leave to it.
        build: the compiled steps from batches like the first, compared with the programs; what was compiled is
            found in the user's cache.
        told: why there is no change, None where there is, and at which step.
        batch_size: of the batches that steps are compiled for.

    Attributes:
        now: what takes the steps at present.
    """

    def __init__(
        self,
        traced: TracedStepper,
        elsewhere: Elsewhere,
        build: Callable[[IndexedBatches], Steps],
        told: Callable[[str | None, int], None],
        batch_size: int,
    ) -> None:
        self.now: Steps = traced
        self.elsewhere: Elsewhere | None = elsewhere
        self._build, self._told, self._batch_size = build, told, batch_size
        self._threads = torch.get_num_threads()
        torch.set_num_threads(max(1, min(self._threads, cores() - 1)))

    @property
    def parameters(self) -> list[Tensor]:
        """The trainable leaves."""
        return list(self.now.parameters)

    def epoch(self, batches: Iterable[Batch], first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take a step on every batch."""
        assert isinstance(batches, IndexedBatches)
        taken = 0
        while self.elsewhere is not None and taken < len(batches.indices):
            yield from self.now.epoch(batches.part(taken, taken + 1), first_step + taken)
            taken += 1
            if self.elsewhere.ended() is not None and self._fits(batches.indices[taken:]):
                self._change(batches.part(taken), first_step + taken)
        yield from self.now.epoch(batches.part(taken), first_step + taken)

    def close(self) -> None:
        """Wait for the other process no longer; threads are as they were."""
        if self.elsewhere is not None:
            self.elsewhere.close()
            self.elsewhere = None
            torch.set_num_threads(self._threads)

    def _fits(self, rest: Sequence[Tensor]) -> bool:
        # The last batch of an epoch may be smaller, for which nothing was compiled.
        return bool(rest) and len(rest[0]) == self._batch_size

    def _change(self, rest: IndexedBatches, step: int) -> None:
        assert self.elsewhere is not None
        code, reason = self.elsewhere.ended(), None
        self.close()
        if code:
            reason = f"the process that compiled them ended with code {code}"
        else:
            try:
                self.now = self._build(rest)
            except Exception as error:
                reason = reason_of(error)
        self._told(reason, step)


@contextlib.contextmanager
def put_away(steps: Steps) -> Iterator[None]:
    """Close what these steps hold, such as another process or connections with one, at the end of the block."""
    try:
        yield
    finally:
        close(steps)


def close(steps: Steps) -> None:
    """Close what these steps hold, if anything."""
    if hasattr(steps, "close"):
        steps.close()
