"""The text of ``ppl-vae --help``: every command in a line or two, without typer and without any command."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping

from ppl_vae.cli.commands import COMMANDS

ABOUT = "Variational autoencoders as probabilistic programs in Pyro."
OPTIONS = {"--version": "Print the version and leave.", "-h, --help": "Show this message and exit."}
FIRST_STEPS = (
    "ppl-vae train vae --data digits --out runs/first",
    "ppl-vae plot runs/first",
    "ppl-vae train --help",
)
NARROWEST, WIDEST = 50, 100


def overview() -> str:
    """The text, as wide as the terminal within bounds."""
    width = max(min(shutil.get_terminal_size().columns, WIDEST) - 2, NARROWEST)
    commands = {name: row.summary for name, row in COMMANDS.items()}
    gap = max(len(name) for name in (*OPTIONS, *commands)) + 4
    parts = (
        f"Usage: ppl-vae [OPTIONS] COMMAND [ARGS]...\n\n  {ABOUT}",
        f"Options:\n{_table(OPTIONS, gap, width)}",
        f"Commands:\n{_table(commands, gap, width)}",
        "\n".join(("First steps:", *(f"  {line}" for line in FIRST_STEPS))),
    )
    return "\n\n".join(parts)


def _table(rows: Mapping[str, str], gap: int, width: int) -> str:
    lines = (
        textwrap.fill(
            words,
            width,
            initial_indent=f"  {name}".ljust(gap),
            subsequent_indent=" " * gap,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for name, words in rows.items()
    )
    return "\n".join(lines)
