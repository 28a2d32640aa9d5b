"""The facts told of a run: its history as a table, and of a finished one a few labelled facts and one curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae.files import JsonObject

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("validation", "test", "train")


def as_history(rows: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """The rows of the epochs as a table."""
    # Loading pandas takes a fifth of a second, which nobody waits for before the first table.
    import pandas as pd

    return pd.DataFrame(rows)


def fit_facts(
    history: pd.DataFrame, manifest: JsonObject, model: object, out_dir: Path | None
) -> tuple[JsonObject, list[float], str]:
    """The facts by label, the plain ELBO by epoch on the most telling split there is, and that curve's name."""
    best = manifest["best_epoch"]
    row = history.loc[history["epoch"] == best].iloc[0]
    splits = [split for split in SPLITS if f"{split}_elbo" in history]
    facts = {
        "model": "(model, guide)" if isinstance(model, tuple) else type(model).__name__,
        "objective": " ".join(manifest["settings"]["elbo"].split()),
        "epochs": f"{manifest['epochs_run']:,}, the weights are those of epoch {best:,}",
        **{f"{split} ELBO": f"{row[f'{split}_elbo']:.3f} nats per datum" for split in splits},
        "steps": f"{row['step']:,.0f} to that epoch, {manifest['compile']}",
        "seconds": f"{history['seconds'].sum():.1f}",
        "seed": str(manifest["seed"]),
        "on": manifest["device"],
        "kept in": out_dir,
    }
    return facts, history[f"{splits[0]}_elbo"].tolist(), f"{splits[0]} ELBO by epoch"
