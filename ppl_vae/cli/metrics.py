"""The final numbers of a run in metrics.json, each with the data and draws that it was computed from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from ppl_vae import inference
from ppl_vae.cli.source import TRAIN_DRAW_SEED, SplitName, split_data, split_given
from ppl_vae.errors import CheckpointError
from ppl_vae.files import JsonObject, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from ppl_vae.data import Dataset
    from ppl_vae.models import VAE

METRICS = "metrics.json"


def measure(
    vae: VAE, dataset: Dataset, split: str, num_particles: int, seed: int, num_total: object = None
) -> JsonObject:
    """Measure the plain ELBO and its terms on a split, with standard errors over data and draws, nats per datum.

    ``num_total`` is the number of data that global sites were fitted to, as the manifest of the run has it.
    """
    from ppl_vae.compression.promised_length import scored_dimensions
    from ppl_vae.inference.pair.admission import admitted

    x = split_data(dataset, split)
    total = int(num_total) if isinstance(num_total, int | float) else None
    given = split_given(dataset, split, vae)
    evaluation = inference.evaluate(vae, given, num_particles=num_particles, num_total=total, seed=seed)
    numbers: dict[str, float] = evaluation.summary()
    numbers |= {"log_likelihood_stderr": _stderr(evaluation.log_likelihood), "kl_stderr": _stderr(evaluation.kl)}
    likelihood, (pair, batch) = vae.model.likelihood, admitted(vae, given)
    # Only a probability mass has bits that could be sent; a density's depend on the units of the pixels.
    is_mass = likelihood.is_density and evaluation.has_masses
    if is_mass and evaluation.is_bound:
        numbers["bits_per_dim"] = -numbers["elbo"] / (math.log(2) * scored_dimensions(pair, batch[0]))
    return {
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "units": "nats per datum",
        "kl_closed_form": evaluation.closed_form,
        "num_particles": num_particles,
        "seed": seed,
        "data": dataset.name,
        "split": str(split),
        "size": len(x),
        "binarization": dataset.binarization,
        "data_notes": _notes(dataset, split),
        "likelihood": likelihood.name,
        "likelihood_is_density": likelihood.is_density,
        "likelihood_is_mass": is_mass,
        "score": evaluation.score,
    }


def _stderr(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _notes(dataset: Dataset, split: str) -> list[str]:
    drawn = f"train split binarized once, Bernoulli draws under seed {TRAIN_DRAW_SEED}"
    dynamic = dataset.binarization == "dynamic" and split == SplitName.TRAIN
    return [*dataset.notes, *([drawn] if dynamic else [])]


def update_metrics(folder: Path, new: JsonObject) -> None:
    """Write keys into metrics.json and keep the others.

    Raises:
        CheckpointError: the file that is there is damaged, or could not be written.
    """
    path = folder / METRICS
    old = read_json(path) if path.exists() else {}
    if not isinstance(old, dict):
        raise CheckpointError(f"{path}: not the metrics of a run (no JSON object)")
    write_json(path, {**old, **new})


def metrics_table(numbers: JsonObject) -> Table:
    """Tabulate the numbers of one split for a reader."""
    table = Table(show_header=False, title=f"{numbers['data']}, {numbers['split']} split ({numbers['size']} data)")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for term, label in (
        ("elbo", numbers.get("score", "ELBO")),
        ("log_likelihood", "log likelihood"),
        ("kl", "KL(q || p)"),
    ):
        value = numbers[term]
        told = "not finite" if value is None else f"{value:.3f}{_margin(numbers[f'{term}_stderr'])} nats per datum"
        table.add_row(label, told)
    if numbers.get("global_kl") is not None:
        table.add_row("KL of global sites", f"{numbers['global_kl']:.3f} nats of all data")
    if numbers.get("bits_per_dim") is not None:
        table.add_row("bits per dim", f"{numbers['bits_per_dim']:.4f}")
    table.add_row("draws per datum", f"{numbers['num_particles']}, seed {numbers['seed']}")
    table.add_row("binarisation", numbers["binarization"])
    table.add_row("likelihood", numbers["likelihood"] + _meaning(numbers))
    return table


def _meaning(numbers: JsonObject) -> str:
    if not numbers["likelihood_is_density"]:
        return " (no density: the ELBO is no bound on log p(x))"
    is_mass = numbers.get("likelihood_is_mass", "bits_per_dim" in numbers)
    return "" if is_mass else " (a density: its log may be above 0)"


def _margin(stderr: float | None) -> str:
    return "" if stderr is None else f" ± {stderr:.3f}"
