"""``ppl-vae diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ppl_vae import diagnostics
from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_file
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.run import load_model
from ppl_vae.cli.source import SplitName, open_data, split_given, with_names

if TYPE_CHECKING:
    from ppl_vae.diagnostics import Diagnosis

REPORT = "report.html"
# Columns of a terminal that hold whole names beside the advice.
WIDE = 120
COLOURS = {"good": "green", "doubtful": "yellow", "bad": "red", "unknown": "dim"}


Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|None", callback=opt.at_home, help="Where to write the report.", show_default="DIR/report.html"
    ),
]


def diagnose(
    folder: opt.Folder,
    data: opt.OtherData = None,
    root: opt.Root = None,
    split: opt.Split = SplitName.TEST,
    out: Report = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer data and draws: a first look in seconds.")] = False,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOPIC",
            help="Beside the usual diagnostics: local_c2st or posterior_calibration. Repeatable.",
            show_default=False,
        ),
    ] = None,
    seed: opt.Seed = 0,
) -> None:
    """Diagnose the posterior of a trained run and write ONE self-contained report.html.

    k-hat, evidence, calibration, coverage, active units, predictive checks, gaps and an HMC reference are run on
    a random subset of the data, in about four minutes at most; each gets a verdict and what to try next.
    """
    from ppl_vae.cli.facts import describe

    path = claim_file(out or folder / REPORT)
    vae = load_model(folder)
    dataset = open_data(folder, vae, data, root)
    # Read before the work is done, so that a damaged manifest costs no minutes.
    subject = describe(folder, vae, dataset, split, quick, seed, topic or ())
    console = plain_console()
    train = split_given(dataset, SplitName.TRAIN, vae) if split == SplitName.TEST else None
    topics = ["usual", *topic] if topic else None
    with console.status("") as status:
        diagnosis = diagnostics.diagnose(
            vae,
            with_names(split_given(dataset, split, vae), dataset, split),
            train,
            y=(dataset.test if split == SplitName.TEST else dataset.train).y,
            effort=diagnostics.QUICK if quick else diagnostics.FULL,
            seed=seed,
            on_topic=lambda title: status.update(f"{title} ..."),
            progress=False,
            topics=topics,
        )
    diagnosis.report(path, subject)
    title = f"{folder}: {dataset.name}, {split} split ({len(diagnosis.x)} data)"
    console.print(_table(diagnosis, title, console.width))
    console.print(str(path), soft_wrap=True)


def _table(diagnosis: Diagnosis, title: str, width: int) -> Table:
    """Tabulate one verdict per line: the figure with its standard error and the advice, or else the words."""
    from ppl_vae.diagnostics.report.html import NAMES, figure_text

    view = Table("diagnostic", "figure", "verdict", "what to try next", box=box.SIMPLE, title=title)
    if width < WIDE:
        # In 80 columns the advice keeps a third, and no name in it is cut.
        view.columns[0].max_width, view.columns[1].max_width = 18, 20
    view.columns[2].no_wrap, view.columns[3].overflow = True, "fold"
    for verdict in diagnosis.verdicts:
        level = Text(NAMES[verdict.level], style=COLOURS[verdict.level])
        why = verdict.words if verdict.level == "unknown" and not verdict.advice else verdict.advice
        view.add_row(Text(verdict.diagnostic), Text(figure_text(verdict)), level, Text(why))
    return view
