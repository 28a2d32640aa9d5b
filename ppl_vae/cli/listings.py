"""``ppl-vae datasets`` and ``ppl-vae recipes``: one line per data set or recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from ppl_vae import data
from ppl_vae import recipes as table
from ppl_vae.cli.console import plain_console


def datasets() -> None:
    """List the data sets by name, what they are and where they come from.

    Beside these, --data takes a table (.csv, .tsv, .parquet, .h5ad), a .npz, .npy or IDX file, a folder of images.
    """
    from ppl_vae.data.catalog import DATASETS

    _print(("name", "what", "where from"), ((name, *DATASETS.get(name, ("", ""))) for name in data.list_datasets()))
    yours = "or yours, by its path: .csv, .tsv, .parquet, .h5ad, .npz, .npy, IDX, a folder of images"
    plain_console().print(yours, soft_wrap=True)


def recipes() -> None:
    """List the recipes by name, what they are and the paper of each."""
    _print(("name", "what", "paper"), ((name, row.summary, row.paper) for name, row in table.RECIPES.items()))


def _print(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*header, box=box.SIMPLE)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*row)
    plain_console().print(table)
