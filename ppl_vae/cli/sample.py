"""``ppl-vae sample``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppl_vae import plots
from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_file
from ppl_vae.cli.figures import save_figure
from ppl_vae.cli.room import require_room_for_samples
from ppl_vae.cli.run import load_model
from ppl_vae.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

DRAWN_AT_ONCE, MOST_PICTURES = 4096, 10_000


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
    path = claim_file(out or folder / "samples.png")
    if path.suffix not in WRITERS:
        raise typer.BadParameter(f"--out {path}: expected a file ending in {', '.join(WRITERS)}")
    if path.suffix == ".png" and n > MOST_PICTURES:
        raise typer.BadParameter(f"-n {n}: a picture shows at most {MOST_PICTURES}; --out FILE.npy holds more")
    import torch

    from ppl_vae.randomness import seeded

    vae = load_model(folder)
    require_room_for_samples(vae, "-n", n)
    with seeded(seed):
        sizes = [min(DRAWN_AT_ONCE, n - done) for done in range(0, n, DRAWN_AT_ONCE)]
        x = torch.cat([vae.sample(size, with_noise) for size in sizes])
    WRITERS[path.suffix](x, path)
    typer.echo(path)


def _write_png(x: Tensor, path: Path) -> None:
    save_figure(plots.plot_samples(x), path)


def _write_npy(x: Tensor, path: Path) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, x.numpy(), allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def _write_npz(x: Tensor, path: Path) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x.numpy())
    write_atomically(path, buffer.getvalue())


WRITERS: Mapping[str, Callable[[Tensor, Path], None]] = {
    ".png": _write_png,
    ".npy": _write_npy,
    ".npz": _write_npz,
}
