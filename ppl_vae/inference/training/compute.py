"""The device and the number of threads of a run, chosen once, by rule and not by timing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import torch

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError
from ppl_vae.inference.training.neighbours import Neighbours, cores

# Below this many floating-point operations in a step's matrix products a second thread costs more to wake
# than it saves (measured on two cores: the digits' MLP is faster on one thread, MNIST's on two).
SINGLE_THREAD_FLOPS = 100_000_000
MOST_THREADS = 1024
# A number, "spare" for as many as other processes leave, or None for the rule.
Threads = int | Literal["spare"] | None


def resolve_device(device: str | torch.device) -> torch.device:
    """The device by name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ModelError: the name is unknown or there is no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"device {device!r} is unknown: {str(error).splitlines()[0]}") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {str(device)!r} was asked for, but torch sees no CUDA device")
    if resolved.type not in ("cpu", "cuda"):
        raise ModelError(f"device {str(device)!r} is not supported: 'cpu', 'cuda' and 'auto' are")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {str(device)!r} was asked for, but there are {torch.cuda.device_count()}")
    return resolved


def step_flops(run_once: Callable[[], object]) -> int:
    """Floating-point operations in the matrix products of a training step.

    Args:
        run_once: its forward pass.
    """
    # Where there is Triton it is loaded with this.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run_once()
    # A backward pass costs about twice the forward one.
    return 3 * int(counter.get_total_flops())


def require_threads(number: Threads) -> Threads:
    """A number of threads that a machine can have; torch ends the process where they cannot be made.

    Raises:
        ModelError: it is none, nor "spare".
    """
    if isinstance(number, str):
        if number != "spare":
            raise ModelError(f"num_threads must be an integer, None or 'spare', got {number!r}")
        return "spare"
    found: int | None = whole("num_threads", number)
    if found is not None and found > MOST_THREADS:
        raise ModelError(f"num_threads must be at most {MOST_THREADS}, got {found}")
    return found


def threads_for(flops: int) -> int:
    """One thread for a small step, all of torch's for a large one.

    Args:
        flops: of the step, as ``step_flops`` counts them.
    """
    return 1 if flops < SINGLE_THREAD_FLOPS else torch.get_num_threads()


def spare(most: int, taken: float) -> int:
    """The number of threads, at most so many, for which other processes leave cores; at least one."""
    return min(most, max(1, round(cores() - taken)))


def choose_threads(asked: Threads, flops: int, neighbours: Neighbours) -> tuple[int, str]:
    """The number of threads that was asked for, or by rule, and why; "spare" is what other processes leave.

    It is chosen once, before the first step: the number of threads is in the order of a sum, so in its last bit.

    Args:
        asked: by the user, or by the run that is continued.
        flops: of a step.
        neighbours: what has counted the other processes for a while.
    """
    if isinstance(asked, int):
        return asked, "as asked for, or as the run that is continued had"
    number = threads_for(flops)
    if number == 1:
        return 1, "one thread is enough for such steps, or torch has one"
    if asked is None:
        return number, "torch's own number"
    taken = neighbours.cores_taken()
    left = spare(number, taken)
    if left == number:
        return number, "torch's own number"
    return left, f"other processes took {taken:.1f} of {cores()} cores when the run began"


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with that many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
