"""``ppl-vae compare-recipes``."""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from ppl_vae import plots
from ppl_vae import recipes as table_of_recipes
from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_folder
from ppl_vae.cli.comparison_report import require_bokeh, write_recipes
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.figures import FIGURES, save_figure
from ppl_vae.cli.room import require_room_to_train
from ppl_vae.cli.source import DataSource, Policy, choose_binarization
from ppl_vae.cli.values import OF_THE_RECIPE, parse_pairs, parse_validation, refuse_taken
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.files import write_atomically

if TYPE_CHECKING:
    import xarray as xr

    from ppl_vae.data import Dataset
    from ppl_vae.recipe_comparison import Entry

TABLE, ROWS, PLANE = "recipes.nc", "recipes.csv", "rate-distortion.png"
COLUMNS = {
    "ELBO": ("elbo", 2), "rate": ("rate", 2), "distortion": ("distortion", 2), "log p(x) ≥": ("log_evidence", 2),
    "active": ("active_units", 1), "s": ("seconds", 1),
}  # fmt: skip


def compare_recipes(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE[:KEY=VALUE,...]...",
            help="The recipes to train, with options that replace those of the table: vae beta-vae:beta=16.",
        ),
    ],
    data: opt.Data = "digits",
    binarize: opt.Binarize = Policy.AUTO,
    root: opt.Root = None,
    data_option: opt.DataOption = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Number of seeds, from 0, of weights, batches and draws.", rich_help_panel=opt.RUN
        ),
    ] = 3,
    epochs: Annotated[
        int | None,
        typer.Option(
            **opt.WHOLE,
            help="Passes over the data, the same for all.",
            show_default="each recipe's own",
            rich_help_panel=opt.TRAINING,
        ),
    ] = None,
    batch_size: opt.BatchSize = None,
    lr: opt.LearningRate = None,
    validation: opt.Validation = None,
    patience: opt.Patience = None,
    num_particles: Annotated[int, typer.Option(min=1, help="Draws per test datum for the ELBO.")] = 16,
    evidence_draws: Annotated[
        int, typer.Option(min=2, help="Draws per test datum for the bound on log p(x).")
    ] = 100,
    device: opt.Device = "auto",
    num_threads: opt.NumThreads = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|None",
            help="Where to write.",
            show_default="runs/recipes-DATA",
            rich_help_panel=opt.RUN,
            callback=opt.at_home,
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Write report.html too, whose charts answer to the pointer."),
    ] = False,
) -> None:
    """Train several recipes with several seeds and judge them by the same plain ELBO on the test split.

    The table is printed, means and standard deviations over the seeds; recipes.nc (netCDF, for
    xarray.open_dataset), recipes.csv (one row per run) and the rate-distortion plane are written.
    """
    from ppl_vae.recipe_comparison import compare_recipes as compare

    if report:
        require_bokeh()
    entries = [_entry(text) for text in recipes]
    folder = claim_folder(
        out or Path("runs") / f"recipes-{Path(data).stem}", (ROWS, f"{FIGURES}/{PLANE}"), (TABLE,)
    )
    dataset = _load(DataSource(data, binarize, root, parse_pairs("--data-option", data_option or [])), entries)
    given: dict[str, Any] = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "validation": parse_validation(validation),
        "patience": patience, "num_threads": num_threads,
    }  # fmt: skip
    table = compare(
        entries, dataset, range(seeds), num_particles=num_particles, num_samples=evidence_draws, device=device,
        progress=sys.stderr.isatty(), **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    written, note = _write(table, folder)
    written += [write_recipes(table, folder)] if report else []
    console = plain_console()
    console.print(_view(table))
    if note:
        console.print(f"no rate-distortion plane: {note}\n")
    console.print(*written, sep="\n", soft_wrap=True)


def _entry(text: str) -> Entry:
    """Parse a recipe as it was typed; the text is also its label.

    >>> _entry("beta-vae:beta=16,latent_dim=10")
    ('beta-vae:beta=16,latent_dim=10', 'beta-vae', {'beta': 16, 'latent_dim': 10})
    >>> _entry('vae:network={"name": "mlp", "hidden": [8, 8]},lr=0.01')[2]
    {'network': {'name': 'mlp', 'hidden': [8, 8]}, 'lr': 0.01}
    """
    name, _, options = text.partition(":")
    # A comma ends an option only where another KEY= follows: JSON has commas of its own.
    found = parse_pairs(text, re.split(r",(?=\s*[\w-]+=)", options)) if options else {}
    refuse_taken(text, found, {**OF_THE_RECIPE, "seed": "--seeds"})
    return text, name, found


def _load(source: DataSource, entries: list[Any]) -> Dataset:
    """Load the data under the one binarisation that all recipes take.

    Raises:
        ModelError: a recipe or an option is unknown, or the recipes take differently binarised data.
    """
    for _, name, _ in entries:
        # Before the data, which may be gigabytes to download.
        if name not in table_of_recipes.RECIPES:
            raise ModelError(unknown_name("recipe", name, table_of_recipes.RECIPES))
    if source.binarize != Policy.AUTO:
        return source.load()
    dataset = replace(source, binarize="none").load()
    found: dict[str, str] = {}
    for label, name, options in entries:
        wanting = "elbo" not in options and "num_data" in table_of_recipes.option_names(name)["objective"]
        needed = {"num_data": len(dataset.train)} if wanting else {}
        given = {**needed, **options}
        require_room_to_train(functools.partial(table_of_recipes.make, name, dataset.event_shape, **given))
        vae = table_of_recipes.make(name, dataset.event_shape, **given).vae
        found.setdefault(choose_binarization(Policy.AUTO, dataset, vae), label)
    if len(found) > 1:
        kinds = ", ".join(f"{kind} ({label})" for kind, label in found.items())
        raise ModelError(f"the recipes take data of several binarisations: {kinds}; choose one with --binarize")
    (binarization,) = found
    return dataset if binarization == "none" else replace(source, binarize=binarization).load()


def _write(table: xr.Dataset, folder: Path) -> tuple[list[Path], str]:
    """Write the numbers and the rate-distortion plane, or say why there is none."""
    # scipy's engine writes netCDF 3 and is there with scikit-learn.
    write_atomically(folder / TABLE, bytes(table.to_netcdf(engine="scipy")))
    write_atomically(folder / ROWS, table.to_dataframe().to_csv().encode())
    written = [folder / TABLE, folder / ROWS]
    likelihoods = sorted({str(name) for name in table["likelihood"].to_numpy()})
    if len(likelihoods) > 1:
        return written, f"distortions under {', '.join(likelihoods)} do not compare"
    save_figure(plots.plot_rate_distortion(table), folder / FIGURES / PLANE)
    return [*written, folder / FIGURES / PLANE], ""


def _view(table: xr.Dataset) -> Table:
    about, several = table.attrs, table.sizes["seed"] > 1
    view = Table(
        *("recipe", *COLUMNS),
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"{about['num_data']} test data of {about['data']} (binarisation {about['binarization']}); "
        "nats per datum" + (f"; mean ± sd of {table.sizes['seed']} seeds" if several else ""),
    )
    # Where the terminal is narrow a name is folded, and never a number.
    view.columns[0].overflow = "fold"
    for column in view.columns[1:]:
        column.no_wrap = True
    mean, spread = table.mean("seed"), table.std("seed", ddof=1)
    for label in table["recipe"].to_numpy():
        cells = [
            f"{float(mean[name].sel(recipe=label)):.{digits}f}"
            + (f"±{float(spread[name].sel(recipe=label)):.{digits}f}" if several else "")
            for name, digits in COLUMNS.values()
        ]
        view.add_row(str(label), *cells)
    return view
