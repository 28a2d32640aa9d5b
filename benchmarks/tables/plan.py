"""How far a budget of minutes goes: passes over the training data and test data, by short runs of every row.

They are compiled where the long ones will be, which takes the half of the time of eager steps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ppl_vae.data.dataset import Dataset
from ppl_vae.files import write_json
from ppl_vae.inference.compilation.inductor import missing_compiler
from tables.table import Run, Table, first_of

PILOT, LONGER, SCORED_IN_PILOT, SCORING_SHARE, STARTS_SHARE = 2000, 3, 4, 0.25, 0.5
TINY = 1e-9
Trains = Callable[[Dataset, Run], Any]


class Cost(NamedTuple):
    """Seconds of several trainings: what they take however long they train, and one pass over the data."""

    fixed: float
    one_pass: float


def pilot(trains: list[Trains], ds: Dataset, options: argparse.Namespace) -> tuple[Cost, list[Any]]:
    """Two short runs of each: the slope between them is a pass, what is left is fixed; and the pairs.

    A run before them pays for what is paid for once, such as machine code, which is kept for data of this number.
    """
    few = replace(ds, train=first_of(ds.train, PILOT))
    compile: bool | Literal["auto"] = True if missing_compiler() is None else "auto"
    once, thrice = (
        Run(0, passes, None, options.device, options.threads, compile=compile) for passes in (1, LONGER)
    )
    pairs, fixed, a_pass = [], 0.0, 0.0
    for train in trains:
        train(few, once)
        started = time.perf_counter()
        pairs.append(train(few, once))
        short = time.perf_counter()
        train(few, thrice)
        long = time.perf_counter()
        slope = max(0.0, long - short - (short - started)) / ((LONGER - 1) * len(few.train))
        a_pass += slope * len(ds.train)
        fixed += max(0.0, short - started - slope * len(few.train))
    return Cost(fixed, a_pass), pairs


def seconds_a_datum(table: Table, pairs: list[Any], ds: Dataset) -> float:
    """What scoring a test datum by all rows takes."""
    test, started = first_of(ds.test, SCORED_IN_PILOT), time.perf_counter()
    for pair in pairs:
        table.score(pair, test, 0)
    return (time.perf_counter() - started) / SCORED_IN_PILOT


def passes_in(seconds: float, cost: Cost, table: Table, ds: Dataset) -> float:
    """The passes that so many seconds allow, whole ones from one on."""
    left = max(0.0, seconds - cost.fixed)
    passes = min(table.passes, max(PILOT / len(ds.train), left / max(cost.one_pass, TINY)))
    return round(passes if passes < 1 else float(int(passes)), 4)


def planned(table: Table, ds: Dataset, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """How many passes and test data; the plan of a run that was stopped is kept."""
    path = folder / "plan.json"
    if path.exists():
        return json.loads(path.read_text())
    if options.budget is None:
        return {"passes": table.passes, "num_test": len(ds.test)}
    cost, pairs = pilot([row.train for row in table.rows], ds, options)
    seconds, scoring = 60 * options.budget / options.seeds, seconds_a_datum(table, pairs, ds)
    num_test = int(min(len(ds.test), max(20, SCORING_SHARE * seconds / scoring)))
    left = max(0.0, seconds - num_test * scoring)
    plan: dict[str, Any] = {"num_test": num_test}
    if table.starts:
        of_starts, _ = pilot(list(table.starts.values()), ds, options)
        plan["first"] = passes_in(STARTS_SHARE * left, of_starts, table, ds)
        left *= 1 - STARTS_SHARE
    plan["passes"] = passes_in(left, cost, table, ds)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, plan)
    return plan
