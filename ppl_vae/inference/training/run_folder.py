"""The folder of a run: its checkpoint while it trains, its model, history and manifest when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae.errors import CheckpointError
from ppl_vae.files import JsonObject, as_path, write_atomically, write_json, write_tensors
from ppl_vae.inference.pair.protocols import Storable
from ppl_vae.inference.training.checkpoint import write_checkpoint
from ppl_vae.inference.training.folder_lock import locked
from ppl_vae.inference.training.run_files import CHECKPOINT, CONFIG, HISTORY, MANIFEST, OWN_FILES, WEIGHTS
from ppl_vae.inference.training.stored_run import read_run
from ppl_vae.inference.training.weights import Weights

if TYPE_CHECKING:
    import pandas as pd


def as_folder(out_dir: str | Path | None) -> Path | None:
    """The folder that a user names; "~" is the home.

    Raises:
        CheckpointError: it is no path, or empty.
    """
    return None if out_dir is None else as_path("out_dir", out_dir)


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one folder; None as the path keeps everything in memory."""

    path: Path | None

    def open(self, resume: bool) -> JsonObject | None:
        """The stored checkpoint, or None for a run that starts afresh.

        Raises:
            CheckpointError: the folder holds another run and ``resume`` is False, or foreign files and no run, or
                its checkpoint is corrupt.
        """
        if self.path is None:
            return None
        # A configuration may be all that a process killed while it saved has left of its model.
        self._sweep([name for name in OWN_FILES if name != CONFIG])
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
            self._require_free()
            return None
        return read_run(self.path / CHECKPOINT)

    def held(self) -> AbstractContextManager[None]:
        """Keep other processes out while the run goes on.

        Raises:
            CheckpointError: another process trains into the folder, or it cannot be written.
        """
        return nullcontext() if self.path is None else locked(self.path)

    def _require_free(self) -> None:
        """Refuse a folder with foreign files, which a run and its figures could replace."""
        assert self.path is not None
        foreign = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
        if foreign:
            more = "" if len(foreign) == 1 else f" and {len(foreign) - 1} more"
            raise CheckpointError(
                f"{self.path}: holds {foreign[0]!r}{more}, which no run wrote; nothing was touched. "
                "Choose an empty or a new folder"
            )

    def _sweep(self, names: Sequence[str]) -> None:
        """Remove what processes that were killed have left half-written of these files."""
        assert self.path is not None
        for name in names:
            for partial in self.path.glob(f".{name}.*partial"):
                with suppress(OSError):
                    partial.unlink()

    def checkpoint(self, state: object) -> None:
        """Replace the checkpoint."""
        if self.path is not None:
            write_checkpoint(self.path / CHECKPOINT, state)

    def finish(self, pair: object, weights: Weights, history: pd.DataFrame, manifest: JsonObject) -> None:
        """Write what the run leaves behind."""
        if self.path is None:
            return
        if isinstance(pair, Storable):
            pair.save(self.path)
        else:
            write_tensors(self.path / WEIGHTS, weights.state())
        write_atomically(self.path / HISTORY, history.to_csv(index=False).encode())
        write_json(self.path / MANIFEST, manifest)
        self._sweep(OWN_FILES)
