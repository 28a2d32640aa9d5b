"""Published tables again, by one command: the paper's figures, ours with their errors, the sign of each comparison.

    python benchmarks/published.py --table burda-2016 [--budget 60] [--seeds 1] [--device auto] [--data stochastic]

``--budget`` is in minutes and scales the schedule: every row gets the same share of the paper's passes over the
training data, with stages of the learning rate and warm-up scaled alike; without it the paper's whole schedule is
run. The share stands in the record beside every figure: a schedule cut short is no reproduction, and what it can
say is the sign of a comparison. Test data are cut too, so that scoring takes a quarter of the budget at most.

A run that was stopped goes on where it was, from ``--runs``, at the same table, budget, seeds and data. The result
is merged into benchmarks/results/published.json; one of more passes is not replaced by one of fewer.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tables import TABLES
from tables.report import record, what_the_budget_does
from tables.table import Row, Run, Scores, Table, first_of

import ppl_vae as pv
from ppl_vae.data.dataset import Dataset
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "published.json"
PILOT, LONGER, SCORED_IN_PILOT, SCORING_SHARE = 400, 3, 4, 0.25
TINY = 1e-9


class Cost(NamedTuple):
    """Seconds of all rows: what they take however long they train, one pass over the data, one datum scored."""

    fixed: float
    one_pass: float
    scoring: float


def pilot(table: Table, ds: Dataset, options: argparse.Namespace) -> Cost:
    """Two short runs of every row: the slope between them is a pass, what is left is fixed."""
    few, more = (replace(ds, train=first_of(ds.train, size)) for size in (PILOT, LONGER * PILOT))
    once, test = Run(0, 1, None, options.device, options.threads), first_of(ds.test, SCORED_IN_PILOT)
    # What a process pays for once is not the rows'.
    table.rows[0].train(few, once)
    fixed = a_pass = scoring = 0.0
    for row in table.rows:
        started = time.perf_counter()
        pair = row.train(few, once)
        short = time.perf_counter()
        row.train(more, once)
        long = time.perf_counter()
        table.score(pair, test, 0)
        scoring += (time.perf_counter() - long) / SCORED_IN_PILOT
        slope = max(0.0, long - short - (short - started)) / (len(more.train) - len(few.train))
        a_pass += slope * len(ds.train)
        fixed += max(0.0, short - started - slope * len(few.train))
    return Cost(fixed, a_pass, scoring)


def planned(table: Table, ds: Dataset, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """How many passes and test data; the plan of a run that was stopped is kept."""
    path = folder / "plan.json"
    if path.exists():
        return json.loads(path.read_text())
    if options.budget is None:
        return {"passes": table.passes, "num_test": len(ds.test)}
    cost = pilot(table, ds, options)
    seconds = 60 * options.budget / options.seeds
    num_test = int(min(len(ds.test), max(20, SCORING_SHARE * seconds / cost.scoring)))
    left = max(0.0, seconds - cost.fixed - num_test * cost.scoring)
    passes = min(table.passes, max(PILOT / len(ds.train), left / max(cost.one_pass, TINY)))
    plan = {"passes": round(passes if passes < 1 else float(int(passes)), 4), "num_test": num_test}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, plan)
    return plan


def scored(
    table: Table, row: Row, ds: Dataset, plan: dict[str, Any], seed: int, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Train and score a row with one seed; what is done already is read."""
    path = folder / row.label.replace(" ", "-") / f"seed-{seed}"
    done = path / "scores.json"
    if not done.exists():
        started = time.perf_counter()
        pair = row.train(ds, Run(seed, plan["passes"], path / "fit", options.device, options.threads))
        seconds = time.perf_counter() - started
        pair.save(path / "model")
        found = table.score(pair, first_of(ds.test, plan["num_test"]), seed)
        write_json(done, as_plain(found) | {"seconds": seconds})
        print(f"{row.label}, seed {seed}: {seconds:.0f} s of training", flush=True)
    return json.loads(done.read_text())


def as_plain(scores: Scores) -> dict[str, Any]:
    """Scores as a file holds them."""
    return {
        "per_datum": {name: v.tolist() for name, v in scores.per_datum.items()},
        "numbers": dict(scores.numbers),
    }


def require_no_smaller(stored: dict[str, Any], table: Table, plan: dict[str, Any]) -> None:
    """Refuse to put a shorter run in the place of a longer one."""
    before = stored.get(table.name, {}).get("on", {}).get("passes", 0)
    if before > plan["passes"]:
        raise SystemExit(
            f"{table.name}: the record is of {before:g} passes and this run is of {plan['passes']:g}; "
            "give --results to write it elsewhere"
        )


def run_table(table: Table, options: argparse.Namespace) -> dict[str, Any]:
    """Train, score and compare."""
    ds = pv.load_dataset("mnist", root=options.root, binarize=options.data)
    budget = "whole" if options.budget is None else f"{options.budget:g}-minutes"
    folder = options.runs / f"{table.name}-{options.data}-{budget}-{options.seeds}-seeds"
    plan = planned(table, ds, options, folder)
    stored = json.loads(options.results.read_text()) if options.results.exists() else {}
    require_no_smaller(stored, table, plan)
    print(f"{table.name}: {what_the_budget_does(table, plan, options)}", flush=True)
    runs = {
        row.label: [scored(table, row, ds, plan, seed, folder, options) for seed in range(options.seeds)]
        for row in table.rows
    }
    beside: dict[str, Any] = {}
    if table.beside is not None:
        pairs = {
            row.label: pv.load(folder / row.label.replace(" ", "-") / "seed-0" / "model") for row in table.rows
        }
        beside = dict(table.beside(pairs, ds, 0))
    return stored | {table.name: record(table, runs, ds, plan, beside, options)}


def main() -> None:
    """Run the tables that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--table", choices=TABLES, action="append", required=True, help="may be given several times"
    )
    parser.add_argument("--budget", type=float, help="minutes a table; without it the paper's whole schedule")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument(
        "--data", choices=("dynamic", "stochastic"), help="binarisation; by default the table's first"
    )
    parser.add_argument("--root", help="folder with MNIST's IDX files; else PPL_VAE_DATA, the cache, a download")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=Path, default=Path("runs/published"), help="checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file")
    options = parser.parse_args()
    asked = options.data
    for name in options.table:
        options.data = asked or TABLES[name].binarizations[0]
        if options.data not in TABLES[name].binarizations:
            parser.error(f"{name} has no figures on {options.data} data")
        found = run_table(TABLES[name], options)
        write_json(options.results, found)
        print(json.dumps(found[name], indent=1))


if __name__ == "__main__":
    main()
