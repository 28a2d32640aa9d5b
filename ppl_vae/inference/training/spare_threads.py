"""Steps on the cores that other processes leave, which are counted anew now and then.

Threads wait for one another at every product of matrices, so that a step is as slow as the thread whose core is
taken: with one busy neighbour on two cores, compiled steps of the MNIST MLP were measured at 44,000 images a second
before it came, at 7,000 with it, and at 22,000 on one thread.

The number of threads is in the last bit of a sum. A run that promises its bytes keeps to the number it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ppl_vae.inference.compilation.changeover import Changeover, close
from ppl_vae.inference.compilation.steppers import CompiledStepper, TracedStepper
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.compute import spare
from ppl_vae.inference.training.neighbours import Neighbours, cores
from ppl_vae.inference.training.steps import Steps

# A look is taken when this long has passed, after so many steps or an epoch of the user's own batches.
SECONDS_BETWEEN_LOOKS, STEPS_A_LOOK = 1.0, 64


class SpareThreads:
    """Steps whose number of threads follows what other processes leave.

    Two looks in a row have to find the same before anything is changed: a neighbour may be gone in a second.

    Args:
        steps: to begin with.
        most: threads that a step can use.
        rebuilt: the steps for torch's number of threads at the time; machine code is made for one number.
        told: the number of threads from here on, and why.

    Attributes:
        now: what takes the steps at present.
    """

    def __init__(
        self, steps: Steps, most: int, rebuilt: Callable[[], Steps], told: Callable[[int, str], None]
    ) -> None:
        self.now = steps
        self._most, self._rebuilt, self._told = most, rebuilt, told
        self._neighbours, self._seen = Neighbours(), torch.get_num_threads()

    @property
    def parameters(self) -> Sequence[Tensor]:
        """The trainable leaves."""
        return self.now.parameters

    def epoch(self, batches: Iterable[Batch], first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take a step on every batch."""
        if not isinstance(batches, IndexedBatches):
            self._look()
            yield from self.now.epoch(batches, first_step)
            return
        for start in range(0, len(batches.indices), STEPS_A_LOOK):
            self._look()
            yield from self.now.epoch(batches.part(start, start + STEPS_A_LOOK), first_step + start)

    def close(self) -> None:
        """Close what the steps hold."""
        close(self.now)

    def _look(self) -> None:
        if isinstance(self.now, Changeover) and self.now.elsewhere is not None:
            # The neighbour is the process that compiles these steps.
            self._neighbours = Neighbours()
            return
        if self._neighbours.seconds() < SECONDS_BETWEEN_LOOKS:
            return
        taken = self._neighbours.cores_taken()
        self._neighbours, before, self._seen = Neighbours(), self._seen, spare(self._most, taken)
        if self._seen == before and self._seen != torch.get_num_threads():
            self._change(taken)

    def _change(self, taken: float) -> None:
        self._told(self._seen, f"other processes took {taken:.1f} of {cores()} cores")
        torch.set_num_threads(self._seen)
        if _is_machine_code(self.now):
            self.close()
            self.now = self._rebuilt()
            self._neighbours = Neighbours()


def _is_machine_code(steps: Steps) -> bool:
    now = steps.now if isinstance(steps, Changeover) else steps
    return isinstance(now, CompiledStepper) or (isinstance(now, TracedStepper) and now.compiles)
