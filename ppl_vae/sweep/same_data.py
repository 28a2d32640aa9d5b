"""The test whether a sweep goes on with the data of its first trials: their runs tell what was beside x."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ppl_vae.data import Dataset, Split, fingerprint
from ppl_vae.errors import CheckpointError
from ppl_vae.files import JsonObject, read_json
from ppl_vae.inference.pair.covariates import covariate
from ppl_vae.inference.training.run_files import MANIFEST

PRECISIONS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OF_TRAINING, CHECKSUM = "train_", "_sha256"


def require_same_data(folder: Path, training: Dataset | Split) -> None:
    """Refuse to go on with other labels, covariates or binarisation than those that trials were trained on.

    What their recipe did not take is not compared.

    Args:
        folder: of the sweep.
        training: the data that its trials are trained on.

    Raises:
        CheckpointError: something is another; it is named, and the trial.
    """
    split = training.train if isinstance(training, Dataset) else training
    beside = dict(split.covariates) if split.y is None else {"labels": split.y, "y": split.y, **split.covariates}
    found: dict[str, set[str]] = {}
    for manifest in sorted(folder.glob(f"trials/*/{MANIFEST}")):
        stored: JsonObject = read_json(manifest).get("data", {})
        for name in _taken(stored):
            if name not in found:
                found[name] = _checksums(beside.get(name), name, split.x)
            if stored[f"{OF_TRAINING}{name}{CHECKSUM}"] not in found[name]:
                raise _another(folder, name, manifest)
        before = stored.get("binarization")
        if isinstance(training, Dataset) and before not in (None, training.binarization):
            raise _another(folder, f"binarization ({before}, now {training.binarization})", manifest)


def _taken(stored: JsonObject) -> list[str]:
    """The names of what a trial was trained on beside x."""
    named = [key for key in stored if key.startswith(OF_TRAINING) and key.endswith(CHECKSUM)]
    return [key.removeprefix(OF_TRAINING).removesuffix(CHECKSUM) for key in named if key != "train_sha256"]


def _checksums(values: Tensor | None, name: str, x: Tensor) -> set[str]:
    """Those of the values in each precision in which pairs may take them; none where there are no values."""
    if values is None:
        return set()
    return {fingerprint(covariate(values, name, x, dtype, allows_missing=True)) for dtype in PRECISIONS}


def _another(folder: Path, what: str, manifest: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder}: holds another sweep: {what} of the data is not what trial {manifest.parent.name} was trained on"
    )
