"""``ppl-vae sweep``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim
from ppl_vae.cli.configuration import read_options
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.values import count_or_none, text_or_none
from ppl_vae.errors import CheckpointError, ModelError, unknown_name
from ppl_vae.extras import imported
from ppl_vae.files import JsonObject

if TYPE_CHECKING:
    import xarray as xr

FIGURE = "sweep.png"
FIELDS = (
    "recipe", "data", "data_options", "space", "seeds", "options", "num_points", "num_parallel", "judge",
    "num_draws", "held_out", "rungs", "prune_beyond", "seed",
)  # fmt: skip
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
NEEDED = ("recipe", "data", "space")
# Fields of an Optuna distribution in a file, by its type.
DISTRIBUTIONS = {"float": "FloatDistribution", "int": "IntDistribution", "categorical": "CategoricalDistribution"}


def sweep(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="What is swept, YAML or JSON.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR|None", callback=opt.at_home, help="Where to write.", show_default="runs/SPEC"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            parser=count_or_none,
            metavar="INTEGER|None",
            help="Processes of this machine that train at once.",
            show_default="in this process",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|None",
            callback=text_or_none,
            help="The address of a dask scheduler, whose workers train.",
            show_default=False,
        ),
    ] = None,
    resume: opt.Resume = False,
) -> None:
    """Train a recipe over a grid or an Optuna space and judge the trials by data that none is trained on.

    SPEC holds recipe, data and space, and what else pv.sweep takes: seeds, options, num_points, judge, held_out,
    rungs, prune_beyond, seed. In space a list of values makes a grid; {type: float, low: 1e-4, high: 1e-2,
    log: true} (or int, or categorical with choices) is searched by Optuna. The folder holds a run for every trial,
    sweep.nc and a figure.
    """
    from ppl_vae import plots
    from ppl_vae.cli.figures import save_figure
    from ppl_vae.data import load_dataset
    from ppl_vae.sweep import sweep as run_sweep

    given = _read(spec)
    if workers is not None and address is not None:
        raise ModelError("--workers and --address: give one of them")
    folder = claim(out or Path("runs") / spec.stem)
    options = given.pop("data_options", None)
    data = load_dataset(str(given.pop("data")), **dict(options)) if options else str(given.pop("data"))
    space = {_plain(name): _values(name, values) for name, values in given.pop("space").items()}
    given["options"] = {_plain(name): value for name, value in (given.get("options") or {}).items()}
    numbers = run_sweep(
        given.pop("recipe"), space, data, given.pop("seeds", (0,)), out_dir=folder, executor=address or workers,
        resume=resume, progress=sys.stderr.isatty(), **given,
    )  # fmt: skip
    figure = folder / FIGURE
    if numbers.attrs["best"] >= 0:
        save_figure(plots.plot_sweep(numbers), figure)
    console = plain_console()
    console.print(_table(numbers))
    console.print(f"sweep    {folder}" + (f"\nfigure   {figure}" if figure.exists() else ""), soft_wrap=True)


def _read(spec: Path) -> JsonObject:
    given = {name.replace("-", "_"): value for name, value in read_options(spec.expanduser()).items()}
    for name in given:
        if name not in FIELDS:
            raise CheckpointError(f"{spec}: {unknown_name('field', name, FIELDS)}")
    for name in NEEDED:
        if name not in given:
            raise CheckpointError(f"{spec}: field {name!r} is missing")
    if not isinstance(given["space"], Mapping):
        raise CheckpointError(f"{spec}: field 'space': expected options by their names")
    return {name: _numbers(value) for name, value in given.items()}


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _numbers(value: object) -> object:
    """Numbers as numbers: YAML takes 1e-3, without a point, for text."""
    if isinstance(value, Mapping):
        return {key: _numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    return value


def _values(name: str, values: object) -> object:
    """A list as it is; a mapping as the Optuna distribution that it names."""
    if not isinstance(values, Mapping):
        return values
    optuna = imported("optuna", "a space that is no grid", "'ppl_vae[sweep]'")
    kinds = {kind: vars(optuna.distributions)[of] for kind, of in DISTRIBUTIONS.items()}
    kind = str(values.get("type"))
    if kind not in kinds:
        raise ModelError(f"space: {name!r}: {unknown_name('type', kind, DISTRIBUTIONS)}")
    try:
        return kinds[kind](**{key: value for key, value in values.items() if key != "type"})
    except (TypeError, ValueError) as error:
        raise ModelError(f"space: {name!r}: {error}") from None


def _table(numbers: xr.Dataset) -> Table:
    """The points, the best first; those without a score last."""
    by = numbers.attrs["judge"]
    options = [str(name) for name in numbers.attrs["options"]]
    table = Table(title="ELBO, nats per datum" if by == "elbo" else "log p(x) of the bound, nats per datum")
    for column in (*options, "score", "behind the best", "status"):
        table.add_column(column, justify="right")
    order = numbers["behind"].fillna(float("inf")).argsort().to_numpy()
    for index in order:
        point = numbers.isel(point=int(index))
        behind, error = float(point["behind"]), float(point["behind_stderr"])
        statuses = sorted(set(point["status"].to_numpy().tolist()))
        score = float(point[by].mean("seed", skipna=False))
        table.add_row(
            *(_cell(point[name]) for name in options), f"{score:.3f}", f"{behind:.3f} ± {error:.3f}",
            ", ".join(statuses),
        )  # fmt: skip
    return table


def _cell(value: xr.DataArray) -> str:
    return f"{value.item():.4g}" if value.dtype.kind == "f" else str(value.item())
