"""The beginning and the end of a run of several ranks: the same pair, data and stored state on all of them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ppl_vae.files import JsonObject
from ppl_vae.inference.training.manifest import identity, require_same_everywhere
from ppl_vae.inference.training.neighbours import cores
from ppl_vae.inference.training.preparation import Run
from ppl_vae.inference.training.rank_steps import require_parts
from ppl_vae.inference.training.ranks import Ranks
from ppl_vae.inference.training.run_files import CHECKPOINT
from ppl_vae.inference.training.run_folder import RunFolder
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.stored_run import read_run

T = TypeVar("T")


def together(ranks: Ranks | None, work: Callable[[], T]) -> T:
    """Do work on every rank, so that all go on or none does; alone, just do it.

    Raises:
        RankError: it failed on another rank.
    """
    return work() if ranks is None else ranks.agreed(work)


def from_first(ranks: Ranks | None, work: Callable[[], T]) -> T:
    """Let rank 0 do work for all; alone, just do it.

    Raises:
        RankError: it failed on rank 0.
    """
    return work() if ranks is None else ranks.from_first(work)


def require_alike(ranks: Ranks, run: Run) -> None:
    """Refuse ranks whose pairs, data or settings differ.

    Raises:
        ModelError: the first difference is named.
    """
    told = {"epochs": run.settings.epochs, "patience": run.settings.patience, **identity(run.manifest)}
    require_same_everywhere(ranks.texts(json.dumps(told)))


def stored_everywhere(ranks: Ranks | None, folder: RunFolder, resume: bool) -> JsonObject | None:
    """The stored run of rank 0's folder on every rank, of which none needs to see the folder.

    Raises:
        CheckpointError: as ``RunFolder.open``; RankError on the other ranks.
    """
    stored = together(ranks, lambda: folder.open(resume))
    if ranks is None:
        return stored
    held = folder.path is not None and stored is not None
    content = ranks.content_of_first((folder.path / CHECKPOINT).read_bytes() if folder.path and held else None)
    if ranks.is_first or not content:
        return stored
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / CHECKPOINT).write_bytes(content)
        return read_run(Path(place) / CHECKPOINT)


def start_alike(ranks: Ranks, run: Run, state: TrainingState) -> None:
    """Give every rank the weights of rank 0.

    Raises:
        ModelError: the ranks' weights have other names or shapes; or an objective or a layer that needs a batch as
            a whole, which is named.
    """
    state.weights.train()
    require_parts(run.objective, [*state.weights.modules.values(), *state.weights.networks])
    tensors = state.weights.tensors()
    shapes = str([(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in tensors.items()])
    require_same_everywhere(
        ranks.texts(json.dumps({"data": {}, "weights": hashlib.sha256(shapes.encode()).hexdigest()}))
    )
    ranks.copy_first(tensors.values())


def threads_beside(ranks: Ranks, number: int, reason: str) -> tuple[int, str]:
    """No more threads than this rank's share of its machine's cores."""
    beside = ranks.beside()
    share = max(1, cores() // beside)
    return (number, reason) if number <= share else (share, f"{beside} ranks share {cores()} cores")
