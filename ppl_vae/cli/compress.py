"""``ppl-vae compress`` and ``ppl-vae decompress``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from ppl_vae import compression
from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_file
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.run import load_model
from ppl_vae.cli.source import SplitName, open_data, split_data

if TYPE_CHECKING:
    from torch import Tensor

File = Annotated[Path, typer.Argument(metavar="FILE", help="The compressed file.")]


def compress(
    folder: opt.Folder,
    data: opt.OtherData = None,
    root: opt.Root = None,
    split: opt.Split = SplitName.TEST,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|None",
            callback=opt.at_home,
            help="Where to write the file.",
            show_default="DIR/images.pvbb",
        ),
    ] = None,
    seed: opt.Seed = 0,
) -> None:
    """Compress binary images losslessly with a trained run, by bits-back coding.

    The file's length stands beside what the ELBO promises, and beside gzip, bz2, xz, PNG and WebP. Only the same
    run decompresses it.
    """
    path = claim_file(out or folder / "images.pvbb")
    vae = load_model(folder)
    x = split_data(open_data(folder, vae, data, root), split)
    start = time.perf_counter()
    message = compression.compress(vae, x, path)
    seconds = time.perf_counter() - start
    promised = compression.code_length(vae, x, seed=seed).loc["length"]
    console = plain_console()
    console.print(_table(path, x, message.net_bits, message.initial_bits))
    bits, pixels = message.net_bits / len(x), x[0].numel()
    console.print(
        f"{bits:.2f} bits an image, {bits / pixels:.4f} a pixel; promised "
        f"{promised['bits_per_datum']:.2f} ± {promised['bits_per_datum_stderr']:.2g}: "
        f"ratio {bits / promised['bits_per_datum']:.4f}; {x.numel() / 8e6 / seconds:.3g} MB/s of packed bits",
        soft_wrap=True,
    )
    console.print(str(path), soft_wrap=True)


def decompress(
    folder: opt.Folder,
    file: File,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|None", callback=opt.at_home, help="Where to write the images.", show_default="FILE.npz"
        ),
    ] = None,
) -> None:
    """Decompress what ``ppl-vae compress`` wrote with the same run, into a .npz with the images as ``x``."""
    import numpy as np

    path = claim_file(out or file.with_suffix(".npz"))
    images = compression.decompress(load_model(folder), file)
    np.savez_compressed(path, x=images.numpy().astype(np.uint8))
    plain_console().print(f"{len(images)} images: {path}", soft_wrap=True)


def _table(path: Path, x: Tensor, net_bits: int, initial_bits: int) -> Table:
    view = Table("coder", "bytes", box=box.SIMPLE, title=f"{len(x)} images of {x[0].numel()} binary pixels")
    view.columns[1].justify = "right"
    rows = {
        "bits-back, the file": path.stat().st_size,
        "  of it the message": -(-net_bits // 8),
        "  of it initial bits": -(-initial_bits // 8),
        **compression.general_sizes(x),
    }
    for name, size in rows.items():
        view.add_row(name, f"{size:,}")
    return view
