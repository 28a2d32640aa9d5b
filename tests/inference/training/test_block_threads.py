"""Threads that take the steps of blocks: what one raises ends all, and what they left behind is in order."""

import threading

import pytest
import torch

from ppl_vae.inference.training.block_threads import BlockThreads


class Block:
    """Two members, whose rows say of which block they are."""

    count = 2

    def __init__(self, number, steps=3, error=None):
        self.number, self.steps, self.error, self.taken = number, steps, error, 0

    def epoch(self, batches, first_step):
        assert batches == [2 * self.number, 2 * self.number + 1]
        for step in range(self.steps):
            if self.error is not None:
                raise self.error
            self.taken += 1
            yield 5, torch.full((2, 3), 10.0 * self.number + step)


@pytest.mark.parametrize("number", [1, 2])
def test_rows_come_in_the_order_of_members(number):
    told = []
    with BlockThreads(number) as threads:
        sizes, table = threads.take([Block(k) for k in range(3)], list(range(6)), 0, lambda n, loss: told.append(n))
    assert sizes == [5, 5, 5]
    assert table[:, :, 0].tolist() == [
        [step, step, 10 + step, 10 + step, 20 + step, 20 + step] for step in range(3)
    ]
    assert sum(told) == 3 * 3 * 2 * 5


@pytest.mark.parametrize("number", [1, 2])
def test_an_error_in_a_block_ends_all_and_comes_out(number):
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), BlockThreads(number) as threads:
        threads.take([Block(0, error=ZeroDivisionError()), Block(1)], list(range(4)), 0, lambda n, loss: None)
    assert threading.active_count() == before


def test_an_interrupt_between_looks_stops_blocks_that_have_long_to_go():
    def interrupted(data, loss):
        raise KeyboardInterrupt

    endless = [Block(k, steps=10**9) for k in range(2)]
    with pytest.raises(KeyboardInterrupt), BlockThreads(2) as threads:
        threads.take(endless, list(range(4)), 0, interrupted)
    assert all(block.taken < 10**9 for block in endless)
