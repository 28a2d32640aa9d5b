"""``ppl-vae sample``."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppl_vae import models, plots
from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_file
from ppl_vae.cli.figures import save_figure
from ppl_vae.cli.room import require_room_for_samples
from ppl_vae.cli.run import load_model
from ppl_vae.cli.source import DATA, read_source
from ppl_vae.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from ppl_vae.models import VAE

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
            metavar="FILE|None",
            callback=opt.at_home,
            help="A picture (.png), a table with the names of its columns and levels (.csv), or the numbers "
            "[n, ...] (.npy; .npz with the field x). Replaced if there.",
            show_default="DIR/samples.png, of a table DIR/samples.csv",
        ),
    ] = None,
) -> None:
    """Draw samples from a trained run: codes from the prior, decoded."""
    if out is not None and out.suffix not in WRITERS:
        raise typer.BadParameter(f"--out {out}: expected a file ending in {', '.join(WRITERS)}")
    vae = load_model(folder)
    of_table = len(vae.event_shape) == 1
    path = claim_file(out or folder / ("samples.csv" if of_table else "samples.png"))
    if path.suffix == ".png" and n > MOST_PICTURES:
        raise typer.BadParameter(f"-n {n}: a picture shows at most {MOST_PICTURES}; --out FILE.npy holds more")
    if path.suffix in (".png", ".csv") and (path.suffix == ".csv") != of_table:
        raise typer.BadParameter(f"--out {path}: {_other_way(vae.event_shape)}")
    import torch

    from ppl_vae.randomness import seeded

    require_room_for_samples(vae, "-n", n)
    with seeded(seed):
        sizes = [min(DRAWN_AT_ONCE, n - done) for done in range(0, n, DRAWN_AT_ONCE)]
        if path.suffix == ".csv" and isinstance(vae.model.likelihood, models.Columns):
            _write(_in_words(vae, sizes, with_noise), path)
        else:
            x = torch.cat([vae.sample(size, with_noise) for size in sizes])
            WRITERS[path.suffix](x, path, _column_names(folder) if of_table else [])
    typer.echo(path)


def _other_way(event_shape: Sequence[int]) -> str:
    if len(event_shape) == 1:
        return (
            f"the model draws a table of {event_shape[0]} columns; --out FILE.csv holds it, and ppl-vae plot DIR "
            "marginals draws it"
        )
    return f"the model draws data of shape {tuple(event_shape)}; --out FILE.npy holds them"


def _in_words(vae: VAE, sizes: Sequence[int], with_noise: bool) -> pd.DataFrame:
    """Draw rows as a frame, levels by their names; without noise a name, which has no mean, is the most likely."""
    import torch

    from ppl_vae.inference.pair.words import most_likely

    likelihood = vae.model.likelihood
    assert isinstance(likelihood, models.Columns)
    drawn = [functools.partial(vae.sample, size, with_noise) for size in sizes]
    x = torch.cat([each() if with_noise else most_likely(vae.model, each) for each in drawn])
    frame = likelihood.frame(x)
    # The digits that single precision has.
    return frame.astype(dict.fromkeys(frame.select_dtypes("float64"), "float32"))


def _column_names(folder: Path) -> Sequence[str]:
    """Read the names of the run's columns, where it knows them."""
    return read_source(folder).column_names if (folder / DATA).exists() else []


def _write_png(x: Tensor, path: Path, names: Sequence[str]) -> None:
    save_figure(plots.plot_samples(x), path)


def _write_csv(x: Tensor, path: Path, names: Sequence[str]) -> None:
    import pandas as pd

    columns = names if len(names) == x.shape[1] else [f"x{index + 1}" for index in range(x.shape[1])]
    _write(pd.DataFrame(x.numpy(), columns=list(columns)), path)


def _write(frame: pd.DataFrame, path: Path) -> None:
    write_atomically(path, frame.to_csv(index=False).encode())


def _write_npy(x: Tensor, path: Path, names: Sequence[str]) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, x.numpy(), allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def _write_npz(x: Tensor, path: Path, names: Sequence[str]) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x.numpy())
    write_atomically(path, buffer.getvalue())


WRITERS: Mapping[str, Callable[[Tensor, Path, Sequence[str]], None]] = {
    ".png": _write_png,
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".csv": _write_csv,
}
