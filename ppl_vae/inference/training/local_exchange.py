"""Short messages that the ranks of one machine swap at every step.

A backend of torch.distributed hands each message to threads of its own, and a thread that sleeps takes longer to
wake than two ranks mostly wait for one another. Here every two ranks have a socket, which is watched for a moment
before it is slept on. Where a rank ends, its sockets do, so that the others know at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppl_vae.errors import RankError
from ppl_vae.inference.training.neighbours import cores
from ppl_vae.inference.training.ranks import Ranks

# Ranks of equal parts come within this of one another, as far as the system lets them.
SECONDS_WATCHED = 1e-3
# As long as torch's own backends wait unless told otherwise.
SECONDS_OF_SILENCE = 1800.0
# To make a socket with a process that is there and has agreed to.
SECONDS_TO_MEET = 60.0


@dataclass(frozen=True)
class LocalExchange:
    """Swaps messages of one length with all other ranks.

    Attributes:
        own: the number of this rank.
        links: a socket with every other rank, by its number.
        watched: seconds to watch a socket before sleeping on it.
        patience: seconds after which a silent rank is given up.
    """

    own: int
    links: Mapping[int, socket.socket]
    watched: float = SECONDS_WATCHED
    patience: float = SECONDS_OF_SILENCE

    def swap(self, message: bytes) -> list[bytes]:
        """Send a message to all; those of all ranks, in order.

        Nobody leaves before all have come: what a rank wrote to shared memory before is there for the others.

        Raises:
            RankError: a rank has gone, or says nothing.
        """
        for rank, link in self.links.items():
            with self._alive(rank):
                link.sendall(message)
        found = {rank: self._received(rank, len(message)) for rank in self.links}
        found[self.own] = message
        return [found[rank] for rank in sorted(found)]

    def close(self) -> None:
        """Give the sockets back."""
        for link in self.links.values():
            link.close()

    def _received(self, rank: int, size: int) -> bytes:
        link, parts = self.links[rank], b""
        with self._alive(rank):
            while len(parts) < size:
                self._wait(rank)
                part = link.recv(size - len(parts))
                if not part:
                    raise ConnectionError("its connection is closed")
                parts += part
        return parts

    def _wait(self, rank: int) -> None:
        """Wait until something can be read."""
        poll = select.poll()
        poll.register(self.links[rank], select.POLLIN)
        until = time.monotonic() + self.watched
        while time.monotonic() < until:
            if poll.poll(0):
                return
        if not poll.poll(1000 * self.patience):
            raise RankError(f"rank {rank} has said nothing for {self.patience:.0f} seconds, and the run ends")

    @contextlib.contextmanager
    def _alive(self, rank: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            number = len(self.links) + 1
            raise RankError(f"rank {rank} of {number} has gone, and the run ends with it ({error})") from None


def local_exchange(ranks: Ranks) -> LocalExchange | None:
    """Connect all ranks by sockets; None on all where one of them is elsewhere, or has no such sockets.

    Raises:
        RankError: another rank has gone.
    """
    # The path of such a socket may have 100 characters or so; the folder goes when all are connected.
    with tempfile.TemporaryDirectory() as own_folder:
        folder = Path(ranks.texts(own_folder)[0])
        with contextlib.ExitStack() as opened:
            door = _door(folder / str(ranks.own), opened)
            if not ranks.all(door is not None):
                return None
            assert door is not None
            links = _links(ranks, folder, door)
            # The folder stays until all have come in at every door.
            met = ranks.all(links is not None)
    if not met:
        for link in (links or {}).values():
            link.close()
        return None
    assert links is not None
    # Who watches takes a core that a rank may wait for where there are fewer cores than ranks.
    return LocalExchange(ranks.own, links, SECONDS_WATCHED if ranks.number <= cores() else 0.0)


def _door(path: Path, opened: contextlib.ExitStack) -> socket.socket | None:
    """A socket at which ranks of higher numbers come in."""
    if not hasattr(socket, "AF_UNIX") or not hasattr(select, "poll"):
        return None
    door = opened.enter_context(socket.socket(socket.AF_UNIX))
    door.settimeout(SECONDS_TO_MEET)
    try:
        door.bind(str(path))
        door.listen()
    except OSError:
        return None
    return door


def _links(ranks: Ranks, folder: Path, door: socket.socket) -> dict[int, socket.socket] | None:
    links = {}
    try:
        for rank in range(ranks.own):
            links[rank] = socket.socket(socket.AF_UNIX)
            links[rank].connect(str(folder / str(rank)))
            links[rank].sendall(ranks.own.to_bytes(4, "little"))
        for _ in range(ranks.own + 1, ranks.number):
            link, _ = door.accept()
            link.settimeout(SECONDS_TO_MEET)
            links[int.from_bytes(link.recv(4, socket.MSG_WAITALL), "little")] = link
    except OSError:
        for link in links.values():
            link.close()
        return None
    for link in links.values():
        link.settimeout(None)
    return links
