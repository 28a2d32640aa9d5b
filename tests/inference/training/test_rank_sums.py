"""Gradients of ranks, added up in shared memory: exact at every turn, the same on all, and no file is left."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from ppl_vae.inference.training import rank_sums
from ppl_vae.inference.training.rank_sums import NetworkSums, SharedSums, sums_of
from ppl_vae.inference.training.ranks import Ranks
from tests.inference.training.test_local_exchange import connected

LEAVES = [torch.zeros(3, 2), torch.zeros(4)]
TURNS = 50


def gradients(rank, turn):
    """Of leaves laid out otherwise than they are; the second rank has none by the second leaf."""
    generator = torch.Generator().manual_seed(10 * turn + rank)
    first = torch.randn(2, 3, generator=generator).t()
    return [first, None if rank == 1 else torch.randn(4, generator=generator)]


@pytest.mark.parametrize("number", [2, 3])
def test_the_sums_of_all_turns_are_those_of_the_weighted_gradients(number):
    rows, found = torch.full((2, number, 10), torch.nan), {}
    exchanges = connected(number)

    def work(own):
        sums = SharedSums(Ranks(own, number, torch.device("cpu")), LEAVES, rows, exchanges[own])
        for turn in range(TURNS):
            short, whole = sums.add(torch.tensor([1.0, own]), gradients(own, turn), 0.25 * (own + 1))
            found[own, turn] = torch.cat([short, *(part.reshape(-1) for part in whole)])

    threads = [threading.Thread(target=work, args=(own,)) for own in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for exchange in exchanges:
        exchange.close()
    for turn in range(TURNS):
        expected = torch.zeros(10, dtype=torch.float64)
        for own in range(number):
            first, second = gradients(own, turn)
            parts = [first.reshape(-1), torch.zeros(4) if second is None else second]
            expected += 0.25 * (own + 1) * torch.cat(parts).double()
        for own in range(number):
            assert found[own, turn][:2].tolist() == [number, sum(range(number))]
            torch.testing.assert_close(found[own, turn][2:].double(), expected, rtol=1e-6, atol=1e-6)
            assert torch.equal(found[own, turn], found[0, turn])


class Alone(Ranks):
    """The first of one rank, whose sums are its own numbers."""

    def sum(self, numbers):
        return numbers

    def texts(self, text):
        return [text]


def test_where_there_is_no_room_sums_go_over_the_network(monkeypatch):
    ranks = Alone(0, 1, torch.device("cpu"))
    sums = sums_of(ranks, LEAVES)
    assert isinstance(sums, SharedSums)
    sums.close()

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(rank_sums.os, "posix_fallocate", full)
    assert isinstance(sums_of(ranks, LEAVES), NetworkSums)


PROGRAM = """
import sys, torch
from ppl_vae.inference.training import rank_sums, ranks
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", f"file://{sys.argv[2]}", rank=rank, world_size=2)
found = ranks.find_ranks("auto", torch.device("cpu"))
leaves = [torch.zeros(3)]
for sums in (rank_sums.sums_of(found, leaves), rank_sums.NetworkSums(found, leaves)):
    short, whole = sums.add(torch.ones(1), [torch.arange(3.0) + rank], 0.5)
    print(type(sums).__name__, short.tolist(), [part.tolist() for part in whole])
    sums.close()
"""


@pytest.mark.slow
def test_two_processes_of_one_machine_share_memory_and_leave_no_file(tmp_path):
    held = Path(rank_sums.IN_MEMORY)
    before = set(held.iterdir()) if held.is_dir() else set()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=200)[0].splitlines() for process in started]
    assert said == [["SharedSums [2.0] [[0.5, 1.5, 2.5]]", "NetworkSums [2.0] [[0.5, 1.5, 2.5]]"]] * 2
    if held.is_dir():
        assert not {path for path in held.iterdir() if (path / "rows").exists()} - before
