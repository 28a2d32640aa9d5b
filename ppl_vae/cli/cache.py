"""``ppl-vae cache``."""

from __future__ import annotations

from typing import Annotated

import typer

from ppl_vae.cli.console import plain_console
from ppl_vae.inference.compilation import code_cache


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove the compiled steps that are kept.")] = False,
) -> None:
    """Show the compiled training steps that are kept on disk: where, how many, how large.

    A step is compiled once and found again by later processes. PPL_VAE_STEPS names another folder; nothing is lost
    by --clear but the time to compile.
    """
    console, place = plain_console(), code_cache.folder()
    if clear:
        removed = code_cache.clear()
        console.print(f"{place}: {removed} compiled steps removed", soft_wrap=True)
        return
    held = code_cache.entries()
    size = sum(status.st_size for _, status in held) / 2**20
    most = code_cache.MOST_BYTES / 2**20
    console.print(f"{place}: {len(held)} compiled steps, {size:.1f} of at most {most:.0f} MB", soft_wrap=True)
