"""Messages between ranks of one machine: all get all in order, and who has gone or is silent is named."""

import itertools
import socket
import threading
import time

import pytest
import torch

from ppl_vae.errors import RankError
from ppl_vae.inference.training.local_exchange import LocalExchange, local_exchange
from ppl_vae.inference.training.ranks import Ranks

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="such sockets are of Unix")


def connected(number, **options):
    """The exchanges of that many ranks, which are all in this process."""
    links = [{} for _ in range(number)]
    for a, b in itertools.combinations(range(number), 2):
        links[a][b], links[b][a] = socket.socketpair()
    return [LocalExchange(own, each, **options) for own, each in enumerate(links)]


class Together(Ranks):
    """Ranks that are threads."""

    barrier, told = None, None

    def texts(self, text):
        self.told[self.own] = text
        self.barrier.wait(10)
        found = [self.told[k] for k in range(self.number)]
        self.barrier.wait(10)
        return found

    def sum(self, numbers):
        return sum(torch.tensor(float(text)) for text in self.texts(str(float(numbers))))


def in_threads(number, work):
    """What every rank's work gives, in order."""
    found = [None] * number

    def kept(own):
        found[own] = work(own)

    threads = [threading.Thread(target=kept, args=(own,)) for own in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def together(number):
    barrier, told = threading.Barrier(number), {}
    found = [Together(own, number, torch.device("cpu")) for own in range(number)]
    for ranks in found:
        object.__setattr__(ranks, "barrier", barrier)
        object.__setattr__(ranks, "told", told)
    return found


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("watched", [0.0, 1e-3])
def test_all_get_the_messages_of_all_in_order(number, watched):
    exchanges = connected(number, watched=watched)

    def work(own):
        return [exchanges[own].swap(bytes([turn, own] * 200)) for turn in range(20)]

    found = in_threads(number, work)
    for exchange in exchanges:
        exchange.close()
    assert found == [[[bytes([turn, own] * 200) for own in range(number)] for turn in range(20)]] * number


class Slow(socket.socket):
    """Takes its time to connect, so that the first rank has met all before the last has met the second."""

    def connect(self, address):
        time.sleep(0.02)
        super().connect(address)


def test_ranks_of_one_machine_find_one_another(monkeypatch):
    monkeypatch.setattr(socket, "socket", Slow)
    ranks = together(3)

    def work(own):
        exchange = local_exchange(ranks[own])
        said = exchange.swap(f"rank {own}".encode())
        exchange.close()
        return said

    assert in_threads(3, work) == [[b"rank 0", b"rank 1", b"rank 2"]] * 3


def test_a_rank_that_sees_another_folder_lets_all_go_over_the_network(monkeypatch):
    ranks = together(2)
    texts = Together.texts

    def elsewhere(self, text):
        said = texts(self, text)
        return [f"{said[0]}-of-another-machine", *said[1:]] if self.own == 1 and "/" in text else said

    monkeypatch.setattr(Together, "texts", elsewhere)
    assert in_threads(2, lambda own: local_exchange(ranks[own])) == [None, None]


def test_a_rank_that_has_gone_is_named():
    first, second = connected(2)
    second.close()
    with pytest.raises(RankError, match="rank 1 of 2 has gone"):
        first.swap(b"here")
    first.close()


def test_a_rank_that_goes_after_its_message_has_still_told_it():
    first, second = connected(2)
    second.links[0].sendall(b"last")
    second.close()
    assert first._received(1, 4) == b"last"
    with pytest.raises(RankError, match="rank 1 of 2 has gone"):
        first._received(1, 4)
    first.close()


def test_a_silent_rank_is_named():
    first, second = connected(2, patience=0.05)
    with pytest.raises(RankError, match="rank 1 has said nothing for"):
        first.swap(b"here")
    first.close()
    second.close()
