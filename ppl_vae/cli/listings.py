"""``ppl-vae datasets`` and ``ppl-vae recipes``: one line per data set or recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table

from ppl_vae import data
from ppl_vae import recipes as table
from ppl_vae.cli.console import plain_console

# What they are, and where they come from.
DATASETS: Mapping[str, tuple[str, str]] = {
    "celeba": ("colour photographs of faces, 40 attributes", "your folder"),
    "digits": ("handwritten digits, grey 8x8", "embedded"),
    "dsprites": ("the original dSprites, binary 64x64, 6 factors", "your .npz"),
    "faces": ("cartoon faces, colour 64x64, attributes and pose", "rendered"),
    "fashion-mnist": ("articles of clothing, grey 28x28", "your folder, cache or download"),
    "four-small-images": ("four binary pictures, 3x3", "embedded"),
    "mnist": ("handwritten digits, grey 28x28", "your folder, cache or download"),
    "piano-rolls": ("polyphonic sequences, binary 16x36, from a theory of harmony", "rendered"),
    "sprites": ("shapes with known factors, binary 64x64", "rendered"),
}


def datasets() -> None:
    """List the data sets by name, what they are and where they come from.

    Beside these, --data takes a .npz, .npy or IDX file and a folder of images.
    """
    _print(("name", "what", "where from"), ((name, *DATASETS.get(name, ("", ""))) for name in data.list_datasets()))


def recipes() -> None:
    """List the recipes by name, what they are and the paper of each."""
    _print(("name", "what", "paper"), ((name, row.summary, row.paper) for name, row in table.RECIPES.items()))


def _print(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*header, box=box.SIMPLE)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*row)
    plain_console().print(table)
