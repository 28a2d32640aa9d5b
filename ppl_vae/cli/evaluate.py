"""``ppl-vae evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from ppl_vae.cli import options as opt
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.facts import read_manifest
from ppl_vae.cli.metrics import measure, metrics_table, update_metrics
from ppl_vae.cli.room import require_room_for_draws
from ppl_vae.cli.run import load_model
from ppl_vae.cli.source import SplitName, open_data
from ppl_vae.files import require_writable


def evaluate(
    folder: opt.Folder,
    split: opt.Split = SplitName.TEST,
    data: opt.OtherData = None,
    root: opt.Root = None,
    num_particles: Annotated[int, typer.Option(min=1, help="Draws of z per datum.")] = 10,
    seed: opt.Seed = 0,
) -> None:
    """Evaluate the plain ELBO of a trained run and its two terms, with standard errors.

    The numbers are printed and written into metrics.json of the folder, under the name of the split;
    those of other data under "NAME SPLIT".
    """
    vae = load_model(folder)
    require_room_for_draws(vae, "--num-particles", num_particles)
    require_writable(folder)
    dataset = open_data(folder, vae, data, root)
    numbers = measure(vae, dataset, split, num_particles, seed, read_manifest(folder).get("num_total"))
    update_metrics(folder, {str(split) if data is None else f"{dataset.name} {split}": numbers})
    plain_console().print(metrics_table(numbers))
