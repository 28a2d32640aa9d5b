"""Processes that train one pair together: which of them this one is, and what they tell one another.

They stand on torch.distributed, over gloo on CPUs and nccl on GPUs, and are started by torchrun or whatever else
makes a process group. Nothing is pickled: numbers travel as tensors, words as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

from ppl_vae.errors import ModelError, PplVaeError, RankError, first_line

Distributed: TypeAlias = bool | Literal["auto"]
T = TypeVar("T")
# Numbers of the tensors that are put together to be sent.
SENT_AT_ONCE = 4_000_000
# Types that gloo does not move.
SENT_AS = {torch.bool: torch.uint8, torch.bfloat16: torch.float32}


@dataclass(frozen=True)
class Ranks:
    """The processes of a group.

    Attributes:
        own: the number of this process, from 0.
        number: how many there are.
        place: the device on which the group's backend moves numbers.
    """

    own: int
    number: int
    place: torch.device

    @property
    def is_first(self) -> bool:
        """Tell whether this is rank 0, which writes, shows and evaluates for all."""
        return self.own == 0

    def sum(self, numbers: Tensor) -> Tensor:
        """Add the ranks' tensors of one shape.

        Raises:
            RankError: another rank has gone.
        """
        moved = numbers.to(self.place)
        self._collective(lambda: dist.all_reduce(moved))
        return moved.to(numbers.device)

    def all(self, own: bool) -> bool:
        """Tell whether something is so on every rank.

        Raises:
            RankError: another rank has gone.
        """
        return int(self.sum(torch.tensor(float(own)))) == self.number

    def gather(self, numbers: Tensor) -> Tensor:
        """Stack the ranks' tensors of one shape, [rank, ...].

        Raises:
            RankError: another rank has gone.
        """
        moved = numbers.to(self.place)
        found = [torch.empty_like(moved) for _ in range(self.number)]
        self._collective(lambda: dist.all_gather(found, moved))
        return torch.stack(found).to(numbers.device)

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Copy the numbers of rank 0 into the tensors of every rank, in place.

        Raises:
            RankError: another rank has gone.
        """
        for bucket in _buckets(tensors):
            sent = SENT_AS.get(bucket[0].dtype, bucket[0].dtype)
            moved = torch.cat([tensor.detach().to(self.place, sent).reshape(-1) for tensor in bucket])
            self._collective(functools.partial(dist.broadcast, moved, 0))
            if not self.is_first:
                parts = moved.split([tensor.numel() for tensor in bucket])
                with torch.no_grad():
                    for tensor, part in zip(bucket, parts, strict=True):
                        tensor.copy_(part.view(tensor.shape))

    def texts(self, text: str) -> list[str]:
        """Gather what every rank says, in order.

        Raises:
            RankError: another rank has gone.
        """
        own = _bytes(text.encode())
        sizes = [int(size) for size in self.gather(torch.tensor(len(own))).tolist()]
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(own)] = own
        found = self.gather(padded)
        return [bytes(row[:size].tolist()).decode() for row, size in zip(found, sizes, strict=True)]

    def content_of_first(self, content: bytes | None) -> bytes:
        """Give the bytes that rank 0 holds to every rank.

        Raises:
            RankError: another rank has gone.
        """
        size = torch.tensor(len(content or b""))
        self.copy_first([size])
        moved = _bytes(content or b"") if self.is_first else torch.zeros(int(size), dtype=torch.uint8)
        self.copy_first([moved])
        return moved.numpy().tobytes()

    def agreed(self, work: Callable[[], T]) -> T:
        """Do the same work on every rank; all go on, or none does.

        Raises:
            RankError: it failed on another rank, whose words it has.
        """
        failure: BaseException | None = None
        try:
            done = work()
        except Exception as error:
            failure = error
        said = self.texts(json.dumps(None if failure is None else words(failure)))
        if failure is not None:
            raise failure
        self.require_fine([json.loads(each) for each in said])
        return done

    def from_first(self, work: Callable[[], T]) -> T:
        """Let rank 0 do work whose result is plain values, and give it to all.

        Raises:
            RankError: it failed there.
        """
        made: object = None
        failure: Exception | None = None
        if self.is_first:
            try:
                made = work()
            except Exception as error:
                failure = error
        said = {"made": made, "failed": None if failure is None else words(failure)}
        answer = json.loads(self.content_of_first(json.dumps(said).encode() if self.is_first else None))
        if failure is not None:
            raise failure
        self.require_fine([answer["failed"]])
        return cast(T, answer["made"])

    def require_fine(self, said: Iterable[str | None]) -> None:
        """Refuse to go on where a rank, in order, says that it failed.

        Raises:
            RankError: it is named, with its words.
        """
        for rank, failed in enumerate(said):
            if failed is not None:
                raise RankError(f"rank {rank}: {failed}")

    def beside(self) -> int:
        """The number of ranks on this machine, this one among them."""
        names = self.texts(socket.gethostname())
        return names.count(names[self.own])

    def _collective(self, work: Callable[[], object]) -> None:
        try:
            work()
        except RuntimeError as error:
            other = f"rank {1 - self.own} of 2" if self.number == 2 else f"one of the {self.number} ranks"
            raise RankError(f"{other} has gone, and the run ends with it ({_reason(error)})") from None


def find_ranks(distributed: Distributed, device: torch.device) -> Ranks | None:
    """The process group that a run shall use; None where this process trains alone.

    Args:
        distributed: False for alone; "auto" for the group, where one with more than one rank was made; True for
            the group.
        device: of the run.

    Raises:
        ModelError: it is none of these; or True, and there is no group.
    """
    if distributed not in (False, True, "auto"):
        raise ModelError(f"distributed must be True, False or 'auto', got {distributed!r}")
    made = dist.is_available() and dist.is_initialized()
    if distributed is True and not made:
        raise ModelError(
            "distributed=True needs a process group: torch.distributed.init_process_group('gloo') in a script "
            "that torchrun starts"
        )
    if distributed is False or not made or dist.get_world_size() == 1:
        return None
    over_cuda = device.type == "cuda" and "nccl" in str(dist.get_backend())
    return Ranks(dist.get_rank(), dist.get_world_size(), device if over_cuda else torch.device("cpu"))


def device_of_rank(device: torch.device) -> torch.device:
    """The GPU of this rank where it was not told by number, as torchrun counts ranks on a machine."""
    if device.type != "cuda" or device.index is not None:
        return device
    local = int(os.environ.get("LOCAL_RANK", dist.get_rank()))
    return torch.device("cuda", local % torch.cuda.device_count())


def words(error: BaseException) -> str:
    """An error in one line; of one that is none of ours the kind as well."""
    kind, text = type(error).__name__, first_line(error)
    return text if text and isinstance(error, PplVaeError) else f"{kind}: {text}"


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one dtype, in order, as many as are sent at once."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(map(torch.numel, bucket)) > SENT_AT_ONCE):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _reason(error: RuntimeError) -> str:
    """The words of a backend, without its source line before it and its advice behind."""
    return re.sub(r"^\[[^]]*\]\s*", "", first_line(error)).partition(". ")[0][:160]


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.zeros(0, dtype=torch.uint8)
