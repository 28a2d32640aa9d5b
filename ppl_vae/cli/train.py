"""``ppl-vae train``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from ppl_vae import inference, recipes
from ppl_vae.cli import options as opt
from ppl_vae.cli.claims import claim_folder
from ppl_vae.cli.columns import raw_columns_note, require_unit_columns, taking_words, with_kinds
from ppl_vae.cli.configuration import keep_command
from ppl_vae.cli.console import plain_console
from ppl_vae.cli.figures import FIGURES, Wishes, draw, usual_kinds
from ppl_vae.cli.metrics import METRICS, measure, metrics_table, update_metrics
from ppl_vae.cli.process_group import process_group
from ppl_vae.cli.room import require_room_to_train
from ppl_vae.cli.run import Run
from ppl_vae.cli.source import DATA, DataSource, Policy, choose_binarization
from ppl_vae.cli.values import OF_THE_RECIPE, parse_pairs, parse_validation, parse_value, refuse_taken
from ppl_vae.errors import ModelError, RankError, unknown_name
from ppl_vae.inference.training.run_files import CHECKPOINT, OWN_FILES

if TYPE_CHECKING:
    from ppl_vae.data import Dataset
    from ppl_vae.inference import FitResult
    from ppl_vae.recipes import Recipe

# Draws per datum of the final evaluation; its seed is fixed, so that runs are compared on the same draws.
FINAL_PARTICLES, FINAL_SEED = 10, 0


def train(
    context: typer.Context,
    recipe: opt.Recipe,
    config: opt.Config = None,
    data: opt.Data = "digits",
    binarize: opt.Binarize = Policy.AUTO,
    root: opt.Root = None,
    data_option: opt.DataOption = None,
    latent_dim: opt.LatentDim = None,
    likelihood: opt.Likelihood = None,
    network: opt.Network = None,
    posterior: opt.Posterior = None,
    set_: opt.Set = None,
    elbo: opt.Elbo = None,
    num_particles: opt.NumParticles = None,
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    lr: opt.LearningRate = None,
    validation: opt.Validation = None,
    patience: opt.Patience = None,
    max_grad_norm: opt.MaxGradNorm = None,
    out: opt.Out = None,
    resume: opt.Resume = False,
    seed: opt.RunSeed = 0,
    device: opt.Device = "auto",
    compile_: opt.Compile = opt.CompileChoice.AUTO,
    num_threads: opt.NumThreads = None,
    no_figures: opt.NoFigures = False,
    quiet: opt.Quiet = False,
    live: opt.Live = False,
) -> None:
    """Train a recipe on data and leave a folder with model, history, metrics and figures.

    The folder holds config.json and weights.safetensors (the model), history.csv (a row per epoch),
    metrics.json (the final numbers), manifest.json (versions, seed, device, data checksums), data.json,
    a checkpoint to resume from, and figures/. The manifest keeps the options too: --config manifest.json runs them
    again.

    Under torchrun (torchrun --nproc-per-node=2 -m ppl_vae train ...) its processes share each batch.
    """
    typed = {"likelihood": likelihood, "network": network, "posterior": posterior}
    options = {
        "latent_dim": latent_dim, "elbo": elbo, "num_particles": num_particles, "epochs": epochs,
        "batch_size": batch_size, "lr": lr, "validation": parse_validation(validation), "patience": patience,
        "max_grad_norm": max_grad_norm, "seed": seed, **{k: parse_value(v) for k, v in typed.items() if v},
    }  # fmt: skip
    free = parse_pairs("--set", set_ or [])
    refuse_taken("--set", free, {**OF_THE_RECIPE, "seed": "--seed, the seed of a run"})
    options = {name: value for name, value in options.items() if value is not None} | free
    source = DataSource(data, binarize, root, parse_pairs("--data-option", data_option or []))
    folder = out or Path("runs") / f"{recipe}-{Path(data).stem}"
    with process_group(device) as is_first:
        if is_first:
            folder = claim_folder(folder, (DATA, METRICS, FIGURES), OWN_FILES)
        console = plain_console(quiet or not is_first)
        source, dataset, made = _prepare(recipe, source, options, console)
        result = _fit(
            made, dataset, folder, seed=seed, device=device, compile=compile_.setting, num_threads=num_threads,
            resume=resume, progress="live" if live and not quiet else not quiet and sys.stderr.isatty(),
            distributed="auto",
        )  # fmt: skip
    if not is_first:
        return
    source.write(folder)
    keep_command(folder, context)
    figures = _finish(recipe, result, dataset, folder, console, draw_figures=not no_figures)
    _say_where(folder, figures, console)


def _prepare(
    name: str, source: DataSource, options: dict[str, Any], console: Console
) -> tuple[DataSource, Dataset, Recipe]:
    """Load the data, make the recipe for them, and settle the binarisation."""
    # Before the data, which may be gigabytes to download.
    if name not in recipes.RECIPES:
        raise ModelError(unknown_name("recipe", name, recipes.RECIPES))
    asked = source.binarize
    if asked == Policy.AUTO:
        source = replace(source, binarize="none")
    source = taking_words(source, options)
    dataset = source.load()
    options = with_kinds(options, source, dataset, console)
    # Another file holds other words, or fewer.
    source = source.with_levels(dataset.column_levels)
    if "num_data" in recipes.option_names(name)["objective"] and "elbo" not in options:
        options = {"num_data": len(dataset.train), **options}
    require_room_to_train(lambda: recipes.make(name, dataset.event_shape, **options))
    recipe = recipes.make(name, dataset.event_shape, data=dataset.train.x, **options)
    require_unit_columns(dataset, recipe.vae)
    chosen = choose_binarization(asked, dataset, recipe.vae)
    if chosen != source.binarize:
        source = replace(source, binarize=chosen)
        dataset = source.load()
    if note := raw_columns_note(dataset, recipe.vae):
        console.print(note, soft_wrap=True)
    why = " (auto; --binarize chooses)" if asked == Policy.AUTO else ""
    console.print(
        f"{name} on {dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test data of shape "
        f"{dataset.event_shape}, likelihood {recipe.vae.model.likelihood.name}, "
        f"binarisation {dataset.binarization}{why}",
        soft_wrap=True,
    )  # fmt: skip
    source = replace(source, binarize=str(source.binarize), column_names=list(dataset.column_names))
    return source, dataset, recipe


def _fit(recipe: Recipe, dataset: Dataset, folder: Path, **arguments: Any) -> FitResult:
    try:
        return inference.fit(recipe, dataset, out_dir=folder, **arguments)
    except RankError as error:
        kept = (folder / CHECKPOINT).exists()
        advice = f"; {folder}: give the same command with --resume to continue" if kept else ""
        raise RankError(f"{error}{advice}") from None
    except KeyboardInterrupt:
        kept = (folder / CHECKPOINT).exists()
        advice = "give the same command with --resume to continue" if kept else "before its first checkpoint"
        typer.echo(f"ppl-vae: interrupted; {folder}: {advice}", err=True)
        raise typer.Exit(130) from None


def _finish(
    recipe: str, result: FitResult, dataset: Dataset, folder: Path, console: Console, draw_figures: bool
) -> list[Path]:
    """Measure the trained model, draw its figures, and print both."""
    total = result.manifest.get("num_total")
    numbers = measure(result.model, dataset, "test", FINAL_PARTICLES, FINAL_SEED, total)
    seconds = float(result.history["seconds"].sum())
    about = {
        "recipe": recipe, "epochs_run": result.epochs_run, "best_epoch": result.best_epoch, "seconds": seconds
    }  # fmt: skip
    update_metrics(folder, {**about, "test": numbers})
    run = Run(result.model, dataset, result.history, result.manifest)
    wishes = Wishes()
    figures = draw(run, folder, usual_kinds(run, wishes), wishes) if draw_figures else []
    table = metrics_table(numbers)
    table.add_row("epochs", f"{result.epochs_run}, weights of epoch {result.best_epoch}")
    table.add_row("training time", f"{seconds:.1f} s")
    console.print(table)
    return figures


def _say_where(folder: Path, figures: list[Path], console: Console) -> None:
    lines = [f"run      {folder}", *(f"figure   {path}" for path in figures)]
    console.print("\n".join(lines), soft_wrap=True)
