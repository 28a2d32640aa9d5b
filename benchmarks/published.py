"""Published tables again, by one command: the paper's figures, ours with their errors, the sign of each comparison.

    python benchmarks/published.py --table burda-2016 [--budget 60] [--seeds 1] [--device auto] [--data stochastic]

``--budget`` is in minutes and scales the schedule: every row gets the same share of the paper's passes over the
training data, with stages of the learning rate and warm-up scaled alike; without it the paper's whole schedule is
run. The share stands in the record beside every figure: a schedule cut short is no reproduction, and what it can
say is the sign of a comparison. Test data are cut too, so that scoring takes a quarter of the budget at most.
Where a table names starts, half of what is left trains one pair of each network with a single draw a datum, and
every row begins with its weights: rows of fifty draws would otherwise be compared before one has learned the data.

A run that was stopped goes on where it was, from ``--runs``, at the same table, budget, seeds and data. The result
is merged into benchmarks/results/published.json; one of more passes is not replaced by one of fewer.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tables import TABLES
from tables.plan import planned
from tables.report import record, what_the_budget_does
from tables.table import Row, Run, Scores, Table, first_of

import ppl_vae as pv
from ppl_vae.data.dataset import Dataset
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "published.json"


def begun(
    table: Table, ds: Dataset, plan: dict[str, Any], seed: int, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """The pairs that rows of a short run begin with, by name; what is trained already is read."""
    pairs = {}
    for name, train in table.starts.items() if "first" in plan else ():
        path = folder / "starts" / name.replace(" ", "-") / f"seed-{seed}"
        if not (path / "seconds.json").exists():
            started = time.perf_counter()
            pair = train(ds, Run(seed, plan["first"], path / "fit", options.device, options.threads))
            pair.save(path / "model")
            write_json(path / "seconds.json", time.perf_counter() - started)
            print(f"the start {name}, seed {seed}: {time.perf_counter() - started:.0f} s of training", flush=True)
        pairs[name] = pv.load(path / "model")
    return pairs


def scored(
    table: Table,
    row: Row,
    ds: Dataset,
    plan: dict[str, Any],
    seed: int,
    folder: Path,
    options: argparse.Namespace,
    start: Any = None,
) -> dict[str, Any]:
    """Train and score a row with one seed; what is done already is read."""
    path = folder / row.label.replace(" ", "-") / f"seed-{seed}"
    done = path / "scores.json"
    if not done.exists():
        started = time.perf_counter()
        pair = row.train(ds, Run(seed, plan["passes"], path / "fit", options.device, options.threads, start))
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
    on = stored.get(table.name, {}).get("on", {})
    before, now = on.get("passes", 0) + on.get("passes of the start", 0), plan["passes"] + plan.get("first", 0)
    if before > now:
        raise SystemExit(
            f"{table.name}: the record is of {before:g} passes and this run is of {now:g}; "
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
    starts = [begun(table, ds, plan, seed, folder, options) for seed in range(options.seeds)]
    runs = {
        row.label: [
            scored(table, row, ds, plan, seed, folder, options, starts[seed].get(row.start))
            for seed in range(options.seeds)
        ]
        for row in table.rows
    }
    seconds = sum(run["seconds"] for each in runs.values() for run in each) + sum(
        json.loads(path.read_text()) for path in folder.glob("starts/*/*/seconds.json")
    )
    beside: dict[str, Any] = {}
    if table.beside is not None:
        pairs = {
            row.label: pv.load(folder / row.label.replace(" ", "-") / "seed-0" / "model") for row in table.rows
        }
        beside = dict(table.beside(pairs, ds, 0))
    return stored | {table.name: record(table, runs, ds, plan, beside, options, seconds)}


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
