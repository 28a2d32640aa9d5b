"""The folder of a run: its checkpoint while it trains, its model, history and manifest when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ppl_vae.errors import CheckpointError
from ppl_vae.files import write_atomically, write_json, write_tensors
from ppl_vae.inference.training.checkpoint import CHECKPOINT, write_checkpoint
from ppl_vae.inference.training.stored_run import read_run
from ppl_vae.inference.training.weights import Weights

MANIFEST, HISTORY, WEIGHTS = "manifest.json", "history.csv", "weights.safetensors"
OWN_FILES = (CHECKPOINT, MANIFEST, HISTORY, WEIGHTS, "config.json")


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one folder; None as the path keeps everything in memory."""

    path: Path | None

    def open(self, resume: bool) -> Any:
        """The stored checkpoint, or None for a run that starts afresh.

        Raises:
            CheckpointError: the folder holds another run and ``resume`` is False, or its checkpoint is corrupt.
        """
        if self.path is None:
            return None
        held = [name for name in OWN_FILES if (self.path / name).exists()]
        if held and not resume:
            raise CheckpointError(
                f"{self.path}: holds another run ({held[0]}); nothing was touched. "
                "Continue it with resume=True (--resume), or choose another folder"
            )
        if held and CHECKPOINT not in held:
            raise CheckpointError(
                f"{self.path}: holds a model ({held[0]}) but no checkpoint to continue; nothing was touched"
            )
        if not held:
            return None
        return read_run(self.path / CHECKPOINT)

    def checkpoint(self, state: Any) -> None:
        """Replace the checkpoint."""
        if self.path is not None:
            write_checkpoint(self.path / CHECKPOINT, state)

    def finish(self, pair: Any, weights: Weights, history: pd.DataFrame, manifest: dict[str, Any]) -> None:
        """Write what the run leaves behind."""
        if self.path is None:
            return
        if hasattr(pair, "save"):
            pair.save(self.path)
        else:
            write_tensors(self.path / WEIGHTS, weights.state())
        write_atomically(self.path / HISTORY, history.to_csv(index=False).encode())
        write_json(self.path / MANIFEST, manifest)
