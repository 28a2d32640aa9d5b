"""The steady state: images per second of every contender on one workload, in interleaved rounds."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from .contender import Contender, Task, Training, UnavailableError, reason
from .contenders import CAPTURED, PRODUCTS
from .core_distance import Distance
from .interleave import Measured, interleave, turn
from .products import Products, operations_per_image
from .same_work import Judge
from .spread import quartiles, ratio

TRIAL_ROUNDS = 3
# Workloads so small that a second thread may cost more than it saves: peers are given their better number.
SMALL = ("digits-mlp",)


@dataclass
class Entry:
    """A contender in one workload.

    Attributes:
        contender: who.
        task: what it is given, with its number of threads.
        training: under way.
        verdicts: of the comparison of losses, in words.
    """

    contender: Contender
    task: Task
    training: Training
    verdicts: list[str] = field(default_factory=list)

    @property
    def threads(self) -> int | None:
        """How many it really computes with."""
        return getattr(self.training, "threads", self.task.threads)


def measure(
    task: Task,
    contenders: Iterable[Contender],
    rounds: int,
    draws: bool,
    say: Any = lambda words: None,
    distance: Distance | None = None,
) -> dict[str, Any]:
    """Everything about one workload, as plain values.

    Args:
        task: with the machine's number of threads.
        contenders: who takes part.
        rounds: how many turns each has.
        draws: whether the randomness of contenders is judged too, where the path of their losses would do.
        say: told what is going on.
        distance: between the machine's cores, where it is watched.
    """
    # What was compiled for other shapes would fill the compiler's table of recompilations.
    torch.compiler.reset()
    entries, absent = enter(task, contenders, draws, say)
    turns = {name: turn(entry.training, task.workload) for name, entry in entries.items()}
    alone = matrix_products(task)
    if alone is not None:
        turns[PRODUCTS] = turn(alone, task.workload)
    say(f"{rounds} rounds of {len(turns)}")
    measured = interleave(turns, rounds, distance=distance)
    found = {name: tell(entries[name], measured) for name in entries if name in measured.rates}
    absent |= {name: {"label": entries[name].contender.label, "unavailable": why}
               for name, why in measured.failures.items() if name in entries}  # fmt: skip
    everybody = found | absent
    result: dict[str, Any] = {"contenders": {c.name: everybody[c.name] for c in contenders}}
    if alone is not None:
        result["products"] = bound(task, alone, measured)
    del entries, turns
    gc.collect()
    return result


def enter(
    task: Task, contenders: Iterable[Contender], draws: bool, say: Any
) -> tuple[dict[str, Entry], dict[str, dict[str, str]]]:
    """Start whoever can run and does the same work; of the others, the reason."""
    judge, entries, absent = Judge(task), {}, {}
    for contender in contenders:
        say(contender.label)
        try:
            entries[contender.name] = admitted(contender, task, judge, draws)
        except Exception as error:
            absent[contender.name] = {"label": contender.label, "unavailable": reason(error)}
    return entries, absent


def admitted(contender: Contender, task: Task, judge: Judge, draws: bool) -> Entry:
    """A contender whose losses agree, under training.

    Raises:
        UnavailableError: they do not.
    """
    start = contender.load()
    verdicts = judge(contender, start, draws)
    words = [verdict.words for verdict in verdicts]
    if not all(verdict.same for verdict in verdicts):
        raise UnavailableError(f"its loss is another: {'; '.join(words)}")
    chosen = replace(task, threads=better_threads(contender, task))
    training = start(chosen)
    # What is compiled at the first call belongs to the first steps, not to the steady state.
    training.run(1)
    return Entry(contender, chosen, training, words)


def better_threads(contender: Contender, task: Task) -> int | None:
    """All of the machine's, or one where a small workload is trained faster so."""
    if contender.own_threads or task.workload.name not in SMALL or task.threads in (None, 1):
        return task.threads
    start, turns = contender.load(), {}
    for n in (1, task.threads):
        training = start(replace(task, threads=n))
        training.run(1)
        turns[str(n)] = turn(training, task.workload)
    rates = interleave(turns, TRIAL_ROUNDS).rates
    return max((1, task.threads), key=lambda n: quartiles(rates[str(n)]).median)


def matrix_products(task: Task) -> Products | None:
    """The products alone, where the workload is an MLP's."""
    try:
        return Products(task)
    except UnavailableError:
        return None


def tell(entry: Entry, measured: Measured) -> dict[str, Any]:
    """One contender's numbers, and how many times as fast the captured steps are."""
    rates = measured.rates[entry.contender.name]
    told: dict[str, Any] = {
        "label": entry.contender.label,
        "threads": entry.threads,
        "images_per_second": quartiles(rates).rounded(),
        "rounds": [round(rate, 1) for rate in rates],
        "same_work": entry.verdicts,
    }
    apart = measured.apart[entry.contender.name]
    if apart:
        told["cores_apart"] = {"turns": len(apart), "images_per_second": quartiles(apart).rounded()}
    captured = measured.rates.get(CAPTURED)
    if captured is not None and entry.contender.name != CAPTURED:
        told["captured_over_this"] = ratio(captured, rates).rounded()
    outside = getattr(entry.training, "outside", None)
    if outside:
        told["seconds_of_a_call_outside_its_epochs"] = quartiles(outside).rounded()
    return told


def bound(task: Task, alone: Products, measured: Measured) -> dict[str, Any]:
    """The products' own speed, and what part of it the contenders reach."""
    operations, peak = operations_per_image(task.workload), alone.peak()
    rates: Mapping[str, list[float]] = measured.rates
    at_peak = peak / operations
    return {
        "operations_per_image": operations,
        "peak_gflop_per_second": round(peak / 1e9, 1),
        "images_per_second_at_peak": round(at_peak),
        "images_per_second_products_alone": quartiles(rates[PRODUCTS]).rounded(),
        "part_of_peak": {
            name: round(quartiles(rate).median / at_peak, 3) for name, rate in rates.items() if name != PRODUCTS
        },
        "part_of_products_alone": {
            name: ratio(rate, rates[PRODUCTS]).rounded() for name, rate in rates.items() if name != PRODUCTS
        },
    }
