"""The results as tables in the terminal, and as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .contenders import CAPTURED


def save(path: Path, part: str, found: dict[str, Any]) -> dict[str, Any]:
    """Put a part's results into the file, beside the other parts'; the whole."""
    stored = json.loads(path.read_text()) if path.exists() else {}
    whole = stored | {part: found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1) + "\n")
    return whole


def show_steady(console: Console, workload: str, result: dict[str, Any]) -> None:
    """One workload: rate with quartiles, and how many times as fast the captured steps are."""
    table = Table(title=f"{workload}: {result['data']}, batch {result['batch']}", title_justify="left")
    for heading in (
        "",
        "images/s",
        "quartiles",
        "captured over this [95%]",
        "part of peak",
        "cores apart",
        "threads",
    ):
        table.add_column(heading, justify="left" if not heading else "right")
    parts = result.get("products", {}).get("part_of_peak", {})
    for name, row in result["contenders"].items():
        if "unavailable" in row:
            table.add_row(row["label"], "not available", row["unavailable"][:90])
            continue
        rate, times = row["images_per_second"], row.get("captured_over_this")
        table.add_row(
            row["label"],
            f"{rate['median']:,.0f}",
            f"{rate['lower']:,.0f} to {rate['upper']:,.0f}",
            "" if times is None else f"{times['median']:.2f} [{times['lower']:.2f}, {times['upper']:.2f}]",
            f"{parts[name]:.0%}" if name in parts else "",
            f"{row['cores_apart']['images_per_second']['median']:,.0f}" if "cores_apart" in row else "",
            str(row["threads"] or ""),
            style="bold" if name == CAPTURED else None,
        )
    console.print(table)
    if parts:
        console.print(bound_in_words(result["products"]))


def bound_in_words(products: dict[str, Any]) -> str:
    """The matrix-multiply bound."""
    alone, fastest = products["images_per_second_products_alone"]["median"], products["peak_gflop_per_second"]
    return (
        f"Matrix products: {products['operations_per_image'] / 1e6:.2f} MFLOP an image; the fastest runs at "
        f"{fastest:.0f} GFLOP/s, which is the peak: {products['images_per_second_at_peak']:,} images/s. "
        f"All of a step's, each at its own speed: {alone:,.0f} images/s.\n"
    )


def show_first_steps(console: Console, rows: dict[str, dict[str, Any]]) -> None:
    """Time to the first steps and memory, a row a process."""
    headings = {
        "first_steps_seconds": "first ten steps, s",
        "second_training_seconds": "second training, s",
        "peak_megabytes": "peak memory, MB",
        "of_which_training_megabytes": "of which training, MB",
    }
    table = Table(title="From the call, each in a process of its own, empty caches", title_justify="left")
    for heading in ("", "", *headings.values()):
        table.add_column(heading, justify="right" if heading else "left")
    for workload, contenders in rows.items():
        for row in contenders.values():
            cells = ["", "", "not available", ""] if "unavailable" in row else [str(row[key]) for key in headings]
            table.add_row(workload, row["label"], *cells)
    console.print(table)


def show_growth(console: Console, axes: dict[str, Any]) -> None:
    """Milliseconds a step by size."""
    for axis, contenders in axes.items():
        sizes = sorted({int(size) for row in contenders.values() for size in row})
        table = Table(title=f"Milliseconds a step by {axis}", title_justify="left")
        for heading in ("", *map(str, sizes)):
            table.add_column(heading, justify="right" if heading else "left")
        for name, row in contenders.items():
            cells = [row.get(str(size), {}).get("median") for size in sizes]
            table.add_row(name, *("not available" if cell is None else f"{cell:.2f}" for cell in cells))
        console.print(table)
