"""Open a trained run from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae import models
from ppl_vae.errors import CheckpointError
from ppl_vae.files import JsonObject, read_json
from ppl_vae.inference.training.run_files import HISTORY, MANIFEST

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.data import Dataset
    from ppl_vae.models import VAE

TERMS = ("_elbo", "_log_likelihood", "_kl")
TRAINING = tuple(f"train{term}" for term in TERMS)


@dataclass(frozen=True)
class Run:
    """The parts of a trained run from which its figures are drawn.

    Attributes:
        vae: trained, in evaluation mode.
        dataset: what it was trained on.
        history: a row per epoch.
        manifest: what the run was.
    """

    vae: VAE
    dataset: Dataset
    history: pd.DataFrame
    manifest: JsonObject

    @property
    def chosen_epoch(self) -> int | None:
        """The epoch whose weights validation chose; None where the last were kept."""
        return None if self.manifest["data"]["validation"] == "none" else self.manifest["best_epoch"]


def load_model(folder: Path) -> VAE:
    """Load the model of a run, ready to be used.

    Raises:
        CheckpointError: there is no such folder, or no finished run in it.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; ppl-vae train makes one")
    return models.load(folder).eval()


def open_run(folder: Path, vae: VAE, dataset: Dataset) -> Run:
    """Open the run of a folder whose model and data are already loaded.

    Raises:
        CheckpointError: its history or manifest is missing or damaged.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    manifest = read_json(folder / MANIFEST)
    whole = isinstance(manifest, dict) and isinstance(manifest.get("best_epoch"), int)
    if not (whole and isinstance(manifest.get("data"), dict) and "validation" in manifest["data"]):
        raise CheckpointError(f"{folder / MANIFEST}: not the manifest of a finished run")
    try:
        history = pd.read_csv(folder / HISTORY)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / HISTORY}: not a readable history ({error})") from None
    curves = [column for column in history if column == "epoch" or str(column).endswith(TERMS)]
    if not {"epoch", *TRAINING} <= {*curves} or not all(is_numeric_dtype(history[column]) for column in curves):
        raise CheckpointError(f"{folder / HISTORY}: not the history of a run (its columns are others)")
    return Run(vae, dataset, history, manifest)
