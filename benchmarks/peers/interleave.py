"""Rounds: in each, every contender has one turn, in an order drawn anew, so that none meets a quieter machine."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .contender import Training, UnavailableError, reason
from .core_distance import Distance, are_apart
from .workloads import Workload

Turn = Callable[[], float]

# A contender that takes longer would stretch every round: its first number is told, and it drops out.
SECONDS_A_TURN_AT_MOST = 15.0
# How often a turn is taken again because the machine's cores were apart, before it counts all the same.
REPEATS_AT_MOST = 4


@dataclass
class Measured:
    """What the rounds gave.

    Attributes:
        rates: by contender, one number a round.
        apart: by contender, those of turns that were taken again because the cores were apart.
        failures: by contender that stopped, why; it has no rates.
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    apart: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def orders(names: list[str], rounds: int, seed: int) -> Iterator[list[str]]:
    """A fresh random order of the names for every round."""
    draw = random.Random(seed)
    for _ in range(rounds):
        yield draw.sample(names, len(names))


def interleave(
    turns: Mapping[str, Turn],
    rounds: int,
    seed: int = 0,
    seconds_at_most: float = SECONDS_A_TURN_AT_MOST,
    distance: Distance | None = None,
) -> Measured:
    """Run all turns so many rounds; a contender that fails or is far too slow drops out, with the reason.

    Args:
        turns: by contender.
        rounds: turns of each.
        seed: of the orders.
        seconds_at_most: a slower turn ends its contender's part.
        distance: between the two cores in nanoseconds; a turn that began or ended with them apart is taken again.
    """
    measured = Measured(rates={name: [] for name in turns}, apart={name: [] for name in turns})
    for order in orders(list(turns), rounds, seed):
        for name in order:
            if name in measured.failures:
                continue
            try:
                take = functools.partial(punctual, turns[name], seconds_at_most)
                measured.rates[name].append(undisturbed(take, distance, measured.apart[name]))
            except Exception as error:
                measured.failures[name] = reason(error)
                del measured.rates[name]
    return measured


def undisturbed(turn: Turn, distance: Distance | None, apart: list[float]) -> float:
    """The rate of a turn with the cores together; those of turns that are taken again are added to ``apart``."""
    for _ in range(REPEATS_AT_MOST):
        far = are_apart(distance)
        rate = turn()
        if not (far or are_apart(distance)):
            return rate
        apart.append(rate)
    return turn()


def punctual(turn: Turn, seconds_at_most: float) -> float:
    """The turn's rate.

    Raises:
        UnavailableError: it took too long.
    """
    began = time.perf_counter()
    rate = turn()
    seconds = time.perf_counter() - began
    if seconds > seconds_at_most:
        raise UnavailableError(f"too slow to be interleaved: {rate:.3g} images/s, {seconds:.0f} s a turn")
    return rate


def turn(training: Training, workload: Workload) -> Turn:
    """One turn: an epoch that is not counted, then the timed ones; images per second of these."""

    def images_per_second() -> float:
        seconds = training.run(1 + workload.epochs).seconds[1:]
        return workload.size * len(seconds) / sum(seconds)

    return images_per_second
