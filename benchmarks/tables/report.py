"""The record of a table: means with their errors, distances from the paper, and the sign of each comparison."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

import numpy as np
import torch

from ppl_vae.data.dataset import Dataset
from tables.table import Comparison, Row, Table

SIGNIFICANT = 2.0


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of values [S, N] by seed and datum, and its standard error over data and, of several, over seeds."""
    by_datum, by_seed = values.mean(0), values.mean(1)
    over_data = by_datum.std(ddof=1) / len(by_datum) ** 0.5
    over_seeds = by_seed.std(ddof=1) / len(by_seed) ** 0.5 if len(by_seed) > 1 else 0.0
    return float(values.mean()), float(np.hypot(over_data, over_seeds))


def as_row(row: Row, runs: list[dict[str, Any]], binarization: str) -> dict[str, Any]:
    """A row of the record: every measure, the paper's, and how far ours lies from it."""
    found: dict[str, Any] = {}
    for measure in runs[0]["per_datum"]:
        mean, error = mean_and_error(np.array([run["per_datum"][measure] for run in runs]))
        found |= {measure: round(mean, 3), f"{measure}_stderr": round(error, 3)}
        published = row.published.get(binarization, {}).get(measure)
        if published is not None:
            found |= {f"{measure}, paper": published, f"{measure}, ours minus paper": round(mean - published, 3)}
    for name, value in runs[0]["numbers"].items():
        found[name] = value
    return found | {"training seconds": round(sum(run["seconds"] for run in runs), 1)}


def compared(comparison: Comparison, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """A statement of the paper, judged on the same test data by both rows."""
    greater, less = (
        np.array([run["per_datum"][comparison.measure] for run in runs[label]])
        for label in (comparison.greater, comparison.less)
    )
    mean, error = mean_and_error(greater - less)
    ratio = mean / max(error, 1e-12)
    words = "reproduced" if ratio > SIGNIFICANT else "reversed" if ratio < -SIGNIFICANT else "not significant"
    of = " (one seed)" if len(greater) == 1 else ""
    return {
        "the paper": comparison.says,
        "measure": comparison.measure,
        "rows": f"{comparison.greater} minus {comparison.less}",
        "difference": round(mean, 3),
        "difference_stderr": round(error, 3),
        "sign": words + of,
    }


def what_the_budget_does(table: Table, plan: dict[str, Any], options: argparse.Namespace) -> str:
    """The share of the schedule in words."""
    share, first = plan["passes"] / table.passes, plan.get("first", 0.0)
    seeds = "of one seed: errors are over test data alone" if options.seeds == 1 else f"over {options.seeds} seeds"
    if share == 1:
        return f"the whole schedule of the paper, {seeds}"
    if first:
        return (
            f"{first:g} passes with one draw a datum, the same weights for all rows of a network, then "
            f"{plan['passes']:g} by each row's own objective, where the paper makes all {table.passes:g} by that: "
            f"what is compared is where the objectives lead from a common start, the distance from the paper is "
            f"the schedule's; {seeds}"
        )
    return (
        f"{plan['passes']:g} of the paper's {table.passes:g} passes ({share:.2g} of them): the rows are far from "
        f"trained, the distance from the paper is the schedule's, a sign holds for this length of training; {seeds}"
    )


def record(
    table: Table,
    runs: dict[str, list[dict[str, Any]]],
    ds: Dataset,
    plan: dict[str, Any],
    beside: dict[str, Any],
    options: argparse.Namespace,
    seconds: float,
) -> dict[str, Any]:
    """The table with everything that a reader needs to judge it."""
    comparisons = [compared(each, runs) for each in table.comparisons]
    return {
        "paper": table.paper,
        "this run": what_the_budget_does(table, plan, options),
        "rows": {row.label: as_row(row, runs[row.label], options.data) for row in table.rows},
        "comparisons": {f"{n}": each for n, each in enumerate(comparisons, 1)},
        "beside": beside,
        "differs from the paper": list(table.differs),
        "on": {
            "command": command(table, options),
            "budget in minutes": options.budget,
            "passes": plan["passes"],
            **({"passes of the start": plan["first"]} if "first" in plan else {}),
            "seeds": options.seeds,
            "test images": plan["num_test"],
            "data": f"mnist, {'; '.join(ds.notes)}",
            "training hours": round(seconds / 3600, 3),
            "device": device(options),
            "load": round(os.getloadavg()[0], 1),
            "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        },
    }  # fmt: skip


def command(table: Table, options: argparse.Namespace) -> str:
    """The command that makes it again."""
    budget = "" if options.budget is None else f" --budget {options.budget:g}"
    return (
        f"python benchmarks/published.py --table {table.name}{budget} --seeds {options.seeds} --data {options.data}"
    )


def device(options: argparse.Namespace) -> str:
    """The device in words."""
    if options.device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
