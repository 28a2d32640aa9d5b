"""What a contender is: something that trains a workload for whole epochs and says how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .workloads import Workload


class UnavailableError(Exception):
    """A contender cannot run here; the message says why."""


@dataclass(frozen=True)
class Task:
    """What a contender is given.

    Attributes:
        workload: the model and how it is trained.
        x: [N, *event_shape], on the CPU.
        weights: where training starts, named as those of ``torch_vae.TorchVAE``.
        threads: of the CPU; None leaves the choice to the contender's own rule, if it has one.
        device: "cpu" or "cuda".
    """

    workload: Workload
    x: Tensor
    weights: Mapping[str, Tensor]
    threads: int | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Run:
    """Wall-clock seconds and mean loss (nats per image) of every epoch."""

    seconds: list[float]
    losses: list[float]


class Training(Protocol):
    """A model under training."""

    def run(self, epochs: int) -> Run:
        """Train that many epochs more."""


@dataclass(frozen=True)
class Contender:
    """One way of training a VAE.

    Attributes:
        name: on the command line and in the results.
        label: in tables and figures.
        load: imports what it needs and returns what starts a training.
        exact_kl: its loss has the KL in closed form, so that only the draw through the decoder is random.
        own_threads: it chooses the number of threads by a rule of its own.
    """

    name: str
    label: str
    load: Callable[[], Callable[[Task], Training]]
    exact_kl: bool = True
    own_threads: bool = False


def timed(epoch: Callable[[], float], count: int) -> Run:
    """Run ``count`` epochs of a loop that returns its mean loss as a number: all work has then ended."""
    seconds, losses = [], []
    for _ in range(count):
        started = time.perf_counter()
        losses.append(epoch())
        seconds.append(time.perf_counter() - started)
    return Run(seconds, losses)


def reason(error: Exception) -> str:
    """An error in one line."""
    text = str(error).strip().splitlines()
    first = text[0] if text else "no message"
    return first if isinstance(error, UnavailableError) else f"{type(error).__name__}: {first}"
