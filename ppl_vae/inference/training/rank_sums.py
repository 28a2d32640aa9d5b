"""Gradients of ranks, added up: over the network, or in memory that the ranks of one machine share.

gloo sends a vector through sockets, which the kernel copies several times, and its rounds wait for one another. In
shared memory each rank writes a row and reads those of all, in one order, so that all have the same sum to the last
bit. Short vectors are swapped as messages (``local_exchange``), which tell besides that every row is written. There
are two sets of rows, used in turn: who writes to one anew has swapped messages since, so that all others have read
what it held.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ppl_vae.inference.training.local_exchange import LocalExchange, local_exchange
from ppl_vae.inference.training.ranks import Ranks

# A folder in memory, where there is one.
IN_MEMORY = Path("/dev/shm")


class Sums(Protocol):
    """The protocol of sums over ranks."""

    def add(
        self, short: Tensor, gradients: Sequence[Tensor | None], weight: float
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """Add up short vectors, and weighted gradients.

        Args:
            short: numbers of this rank.
            gradients: by every leaf; None where there is none.
            weight: of this rank's gradients.

        Returns:
            The sum of the short vectors, and those of the gradients by every leaf, which the next sum may write to.

        Raises:
            RankError: another rank has gone.
        """

    def close(self) -> None:
        """Give back what connects the ranks; to be called once."""


@dataclass(frozen=True)
class NetworkSums:
    """Sums over whatever connects the ranks, in one round.

    Attributes:
        ranks: whose numbers are added up.
        leaves: by which the gradients are.
    """

    ranks: Ranks
    leaves: Sequence[Tensor]

    def add(
        self, short: Tensor, gradients: Sequence[Tensor | None], weight: float
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """As ``Sums.add``."""
        dtype, device = common_dtype(self.leaves), self.leaves[0].device
        parts = [
            torch.zeros(leaf.numel(), dtype=dtype, device=device) if g is None else g.to(dtype).reshape(-1) * weight
            for g, leaf in zip(gradients, self.leaves, strict=True)
        ]
        flat = self.ranks.sum(torch.cat([short.to(device, dtype), *parts]))
        return flat[: len(short)], _by_leaf(flat[len(short) :], self.leaves)

    def close(self) -> None:
        """As ``Sums.close``; the group is the user's own."""


@dataclass
class SharedSums:
    """Sums of ranks on one machine.

    Attributes:
        ranks: whose numbers are added up.
        leaves: by which the gradients are.
        rows: shared by all ranks [2, ranks, numbers].
        exchange: swaps messages with them.
    """

    ranks: Ranks
    leaves: Sequence[Tensor]
    rows: Tensor
    exchange: LocalExchange
    _turn: int = 0

    def __post_init__(self) -> None:
        # Made once: new memory of this size would be cleared by the system at every step.
        self._whole = torch.zeros_like(self.rows[0, 0])
        self._sums = _by_leaf(self._whole, self.leaves)
        self._own = [_by_leaf(rows[self.ranks.own], self.leaves) for rows in self.rows]

    @torch.no_grad()
    def add(
        self, short: Tensor, gradients: Sequence[Tensor | None], weight: float
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """As ``Sums.add``."""
        rows, parts = self.rows[self._turn], self._own[self._turn]
        self._turn = 1 - self._turn
        for part, g in zip(parts, gradients, strict=True):
            if g is None:
                part.zero_()
            else:
                torch.mul(g, weight, out=part)
        # Nobody leaves this before all have come to it with their rows written.
        total = self._sum(short.to(rows.dtype))
        torch.add(rows[0], rows[1], out=self._whole)
        for row in rows[2:]:
            self._whole += row
        return total, self._sums

    def close(self) -> None:
        """As ``Sums.close``."""
        self.exchange.close()

    def _sum(self, short: Tensor) -> Tensor:
        messages = self.exchange.swap(short.numpy().tobytes())
        return torch.frombuffer(bytearray(b"".join(messages)), dtype=short.dtype).view(-1, len(short)).sum(0)


def sums_of(ranks: Ranks, leaves: Sequence[Tensor]) -> Sums:
    """Sums in shared memory where all ranks have it, else over the network.

    Raises:
        RankError: another rank has gone.
    """
    plain = all(leaf.device.type == "cpu" and leaf.is_floating_point() for leaf in leaves)
    if not plain or ranks.place.type != "cpu":
        return NetworkSums(ranks, leaves)
    rows = _shared(ranks, (2, ranks.number, sum(leaf.numel() for leaf in leaves)), common_dtype(leaves))
    exchange = None if rows is None else local_exchange(ranks)
    if rows is None or exchange is None:
        return NetworkSums(ranks, leaves)
    return SharedSums(ranks, leaves, rows, exchange)


def common_dtype(leaves: Sequence[Tensor]) -> torch.dtype:
    """Single precision at least, and double where a leaf has it."""
    return torch.promote_types(max((leaf.dtype for leaf in leaves), key=lambda kind: kind.itemsize), torch.float32)


def _by_leaf(flat: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Views of the parts of one vector, in the shapes of the leaves."""
    parts = flat.split([leaf.numel() for leaf in leaves])
    return [part.view(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]


def _shared(ranks: Ranks, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """Zeros that all ranks see, or None where one of them does not; no file stays."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "rows"
        token = _made(path, math.prod(shape) * dtype.itemsize) if ranks.is_first else ""
        said, token = ranks.texts(f"{path} {token}")[0].rsplit(" ", 1)
        found = None
        with contextlib.suppress(OSError, RuntimeError):
            if token and Path(said).with_name("token").read_text() == token:
                found = torch.from_file(said, shared=True, size=math.prod(shape), dtype=dtype).view(shape)
        # The folder goes when all have looked; what is mapped stays.
        seen = ranks.all(found is not None)
    return found if seen else None


def _made(path: Path, size: int) -> str:
    """Make a file of zeros, and a word beside it that no other machine's has; "" where there is no room."""
    token = secrets.token_hex(16)
    try:
        with path.open("wb") as file:
            # Reserved: a file that only claims its size ends who writes to it by a signal.
            os.posix_fallocate(file.fileno(), 0, size)
        path.with_name("token").write_text(token)
    except (OSError, AttributeError):
        return ""
    return token
