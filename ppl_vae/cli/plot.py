"""``ppl-vae plot``."""

from __future__ import annotations

from typing import Annotated

import typer

from ppl_vae.cli import options as opt
from ppl_vae.cli.figures import Kind, Wishes, draw, usual_kinds
from ppl_vae.cli.run import load_model, open_run
from ppl_vae.cli.source import open_data
from ppl_vae.cli.values import text_or_none


def plot(
    folder: opt.Folder,
    kinds: Annotated[
        list[Kind] | None,
        typer.Argument(
            metavar="KIND", help=f"Kinds of figures: {', '.join(Kind)}. By default all that suit the run."
        ),
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|None",
            callback=text_or_none,
            help="For arithmetic: a factor of the data that is 0 or 1, such as smiling of the faces.",
            show_default=False,
        ),
    ] = None,
    extent: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="For the manifold: equal steps of both coordinates between these.",
            show_default="the prior's quantiles",
        ),
    ] = None,
    seed: opt.Seed = 0,
    data: opt.OtherData = None,
    root: opt.Root = None,
) -> None:
    """Draw the figures of a trained run again, into DIR/figures."""
    vae = load_model(folder)
    run = open_run(folder, vae, open_data(folder, vae, data, root))
    wishes = Wishes(attribute, extent, seed)
    for path in draw(run, folder, kinds or usual_kinds(run, wishes), wishes):
        typer.echo(path)
