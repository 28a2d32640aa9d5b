"""``ppl-vae compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from ppl_vae import inference, plots, recipes
from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_folder
from ppl_vae.cli.codes import spread_over
from ppl_vae.cli.comparison_report import require_bokeh, write_estimators
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.figures import FIGURES, save_figure
from ppl_vae.cli.room import require_room_for_draws
from ppl_vae.cli.run import load_model
from ppl_vae.cli.source import DataSource, Policy, SplitName, choose_binarization, open_data, split_given
from ppl_vae.cli.values import count_or_none, text_or_none
from ppl_vae.errors import CheckpointError, unknown_name
from ppl_vae.files import as_text, write_atomically
from ppl_vae.inference.training.run_files import OWN_FILES

if TYPE_CHECKING:
    import xarray as xr

    from ppl_vae.data import Dataset
    from ppl_vae.models import VAE

COMPARISON = "comparison.nc"
MOST_REPEATS = 10_000_000
FIGURE_NAMES = ("estimator-cost", "estimator-values")
WRITTEN = (COMPARISON, *(f"{FIGURES}/{name}.png" for name in FIGURE_NAMES))


def compare(
    run_or_recipe: Annotated[
        str, typer.Argument(metavar="RUN_OR_RECIPE", help="The folder of a run, or a recipe at its first weights.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME_OR_FILE|None",
            callback=text_or_none,
            help="A name that ppl-vae datasets lists, a file, or a folder of images.",
            show_default="the run's own; digits for a recipe",
            rich_help_panel=opt.DATA,
        ),
    ] = None,
    split: opt.Split = SplitName.TEST,
    num_data: Annotated[
        int,
        typer.Option(min=1, help="Number of data, taken at equal steps of the split.", rich_help_panel=opt.DATA),
    ] = 64,
    root: opt.Root = None,
    estimators: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C|None",
            callback=text_or_none,
            help=f"Estimators, of {', '.join(opt.ESTIMATORS)}.",
            show_default="all that the model allows",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=2, max=MOST_REPEATS, help="Independent estimates by each estimator.")
    ] = 1000,
    num_particles: Annotated[
        int | None,
        typer.Option(
            parser=count_or_none,
            metavar="INTEGER|None",
            help="Draws per datum.",
            show_default="each estimator's own",
        ),
    ] = None,
    seed: opt.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|None",
            callback=opt.at_home,
            help="Where to write.",
            show_default="the run's folder; runs/compare-RECIPE-DATA",
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Write comparison.html too, whose charts answer to the pointer."),
    ] = False,
) -> None:
    """Measure estimators of the ELBO side by side: value, bias, gradient variance, SNR, time.

    The tables are printed with a verdict in words; comparison.nc (netCDF, for xarray.open_dataset) and two
    figures are written.
    """
    if report:
        require_bokeh()
    run = Path(run_or_recipe).is_dir()
    named = f"compare-{run_or_recipe}-{Path(data or 'digits').stem}"
    folder = claim_folder(
        out or (run_or_recipe if run else Path("runs") / named), WRITTEN, (COMPARISON, *OWN_FILES)
    )
    vae, dataset = _subject(run_or_recipe, data, root, seed)
    require_room_for_draws(vae, "--num-particles", num_particles)
    x = spread_over(split_given(dataset, split, vae), num_data)
    chosen = None if estimators is None else [name.strip() for name in estimators.split(",")]
    table = inference.compare_estimators(
        vae, x, chosen, num_repeats=repeats, num_particles=num_particles, seed=seed, progress=sys.stderr.isatty()
    )
    table.attrs |= {
        "model": as_text(run_or_recipe),
        "data": dataset.name,
        "split": str(split),
        "binarization": dataset.binarization,
        "likelihood": vae.model.likelihood.name,
    }
    written = _write(table, folder)
    written += [write_estimators(table, folder)] if report else []
    console = plain_console()
    for view in (_values(table), _gradients(table)):
        console.print(view)
    if table.attrs["skipped"]:
        console.print(f"left out: {table.attrs['skipped']}\n")
    console.print(str(inference.check_estimators(table)), soft_wrap=True)
    console.print("", *written, sep="\n", soft_wrap=True)


def _subject(run_or_recipe: str, data: str | None, root: str | None, seed: int) -> tuple[VAE, Dataset]:
    """Load a trained model and its data, or make a recipe at its first weights."""
    folder = Path(run_or_recipe)
    if folder.is_dir():
        vae = load_model(folder)
        return vae, open_data(folder, vae, data, root)
    if run_or_recipe not in recipes.RECIPES:
        known = unknown_name("recipe", run_or_recipe, recipes.RECIPES)
        raise CheckpointError(f"{run_or_recipe}: neither the folder of a run nor a recipe; {known}")
    source = DataSource(data or "digits", root=root)
    dataset = source.load()
    vae = recipes.make(run_or_recipe, dataset.event_shape, seed=seed).vae
    binarization = choose_binarization(Policy.AUTO, dataset, vae)
    return vae, dataset if binarization == "none" else DataSource(source.data, binarization, root).load()


def _write(table: xr.Dataset, folder: Path) -> list[Path]:
    """Write the numbers and the figures."""
    path = folder / COMPARISON
    # scipy's engine writes netCDF 3 and is there with scikit-learn.
    write_atomically(path, bytes(table.to_netcdf(engine="scipy")))
    written = [path]
    figures = (plots.plot_estimator_cost(table), plots.plot_estimator_values(table))
    for name, figure in zip(FIGURE_NAMES, figures, strict=True):
        written.append(folder / FIGURES / f"{name}.png")
        save_figure(figure, written[-1])
    return written


def _values(table: xr.Dataset) -> Table:
    about = table.attrs
    view = Table(
        *("estimator", "draws", "value", "minus ELBO", "minus log p(x)", "ms"),
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"{about['model']} on {about['num_data']} {about['split']} data of {about['data']} "
        f"(binarisation {about['binarization']}, likelihood {about['likelihood']}); nats per datum",
    )
    view.columns[0].no_wrap = True
    for name in table["estimator"].to_numpy():
        row = table.sel(estimator=name)
        view.add_row(
            str(name),
            str(int(row["num_draws"])),
            _with_error(row, "value"),
            _with_error(row, "bias_elbo", sign="+"),
            _with_error(row, "bias_evidence", sign="+"),
            f"{float(row['milliseconds']):.1f}",
        )
    return view


def _gradients(table: xr.Dataset) -> Table:
    import numpy as np

    groups = [str(group) for group in table["group"].to_numpy()]
    title = "gradient variance (signal-to-noise ratio)"
    view = Table("estimator", *groups, box=box.SIMPLE, padding=(0, 1, 0, 0), title=title)
    view.columns[0].no_wrap = True
    for name in table["estimator"].to_numpy():
        row = table.sel(estimator=name)
        pairs = np.column_stack([row["gradient_variance"], row["snr"]])
        view.add_row(str(name), *(f"{variance:.3g} ({snr:.2g})" for variance, snr in pairs))
    return view


def _with_error(row: xr.Dataset, variable: str, sign: str = "") -> str:
    return f"{float(row[variable]):{sign}.3f}±{float(row[f'{variable}_stderr']):.3f}"
