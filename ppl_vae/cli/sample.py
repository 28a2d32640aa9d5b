"""``ppl-vae sample``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from torch import Tensor

from ppl_vae import plots
from ppl_vae.cli import options as opt
from ppl_vae.cli.figures import save_figure
from ppl_vae.cli.run import load_model
from ppl_vae.files import write_atomically
from ppl_vae.randomness import seeded


def sample(
    folder: opt.Folder,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many.")] = 64,
    with_noise: Annotated[
        bool, typer.Option("--with-noise", help="Draw x from p(x|z) too, in place of its mean.")
    ] = False,
    seed: opt.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A picture (.png) or the numbers [n, ...] (.npy; .npz with the field x). Replaced if there.",
            show_default="DIR/samples.png",
        ),
    ] = None,
) -> None:
    """Draw samples from a trained run: codes from the prior, decoded."""
    path = out or folder / "samples.png"
    if path.suffix not in WRITERS:
        raise typer.BadParameter(f"--out {path}: expected a file ending in {', '.join(WRITERS)}")
    vae = load_model(folder)
    with seeded(seed):
        x = vae.sample(n, with_noise)
    WRITERS[path.suffix](x, path)
    typer.echo(path)


def _write_png(x: Tensor, path: Path) -> None:
    save_figure(plots.plot_samples(x), path)


def _write_npy(x: Tensor, path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, x.numpy(), allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def _write_npz(x: Tensor, path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x.numpy())
    write_atomically(path, buffer.getvalue())


WRITERS: Mapping[str, Callable[[Tensor, Path], None]] = {
    ".png": _write_png,
    ".npy": _write_npy,
    ".npz": _write_npz,
}
