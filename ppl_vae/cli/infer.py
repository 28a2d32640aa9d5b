"""``ppl-vae infer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_file
from ppl_vae.cli.codes import first_of
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.run import load_model
from ppl_vae.cli.source import SplitName, open_data, split_given, with_names


def infer(
    folder: opt.Folder,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|None",
            callback=opt.at_home,
            help="Where to write the draws, as netCDF.",
            show_default="DIR/posterior.nc",
        ),
    ] = None,
    split: opt.Split = SplitName.TEST,
    data: opt.OtherData = None,
    root: opt.Root = None,
    first: Annotated[
        int | None, typer.Option(**opt.WHOLE, help="Take the first so many data.", show_default="all")
    ] = None,
    draws: Annotated[int, typer.Option(help="Posterior draws per datum, at least 20.")] = 1000,
    deadline: Annotated[
        float | None, typer.Option(**opt.NUMBER, help="Seconds after which nothing is begun.", show_default=False)
    ] = None,
    memory: Annotated[int, typer.Option(min=1, help="MiB that arrays may take.")] = 1024,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|None",
            callback=opt.at_home,
            help="A folder for finished blocks, so that the same command continues.",
            show_default=False,
        ),
    ] = None,
    seed: opt.Seed = 0,
) -> None:
    """Draw from p(z|x) of every datum, each by the cheapest way whose check it passes.

    The way, "rung", stands beside each datum: 1 the guide, 2 smoothed importance resampling, 3 the guide fitted to
    the datum, 4 HMC, 5 flagged, 0 not reached before the deadline.
    """
    from ppl_vae.diagnostics.arviz.container import groups_of, write_netcdf
    from ppl_vae.diagnostics.infer.infer import RUNGS
    from ppl_vae.diagnostics.infer.infer import infer as infer_posteriors

    vae = load_model(folder)
    path = claim_file(out or folder / "posterior.nc")
    dataset = open_data(folder, vae, data, root)
    some = with_names(first_of(split_given(dataset, split, vae), first), dataset, split)
    result = infer_posteriors(
        vae, some, draws, deadline=deadline, memory_limit=memory << 20, folder=keep, seed=seed
    )
    write_netcdf(result, path)
    table = groups_of(result)["sample_stats"]
    rung = table["rung"].to_numpy()
    counts = [f"{name or 'not reached'} {(rung == number).sum()}" for number, name in enumerate(RUNGS)]
    said = ", ".join(each for each in counts if not each.endswith(" 0"))
    plain_console().print(f"{len(rung)} data: {said}; {float(table['seconds'].sum()):.1f} s. Written to {path}")
