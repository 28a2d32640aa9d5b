"""Posterior collapse over training: one run, resumed from its own checkpoint between two measurements."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.collapse.collapse import run_collapse
from ppl_vae.errors import ModelError
from ppl_vae.inference.fitting.fit import fit
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.renamed import by_keyword


@by_keyword("seed")
def collapse_history(
    vae: PairLike,
    data: Data | Iterable[object],
    x: Data,
    epochs: tuple[int, ...] | list[int],
    out_dir: str | Path | None = None,
    num_samples: int = 10,
    *,
    seed: int = 0,
    **fit_options: Any,
) -> xr.Dataset:
    """Train a pair and measure it on the way: ``run_collapse`` after each of some epochs, along "epoch".

    The run is one run: it is resumed from its own checkpoint at every look, and ends at the last epoch with the
    weights that an uninterrupted ``fit`` would have.

    Args:
        vae: what ``fit`` trains, in place.
        data: what ``fit`` trains on.
        x: the data that the looks are on, [N, *event_shape].
        epochs: after which epochs to look, increasing.
        out_dir: the run's folder; a temporary one if it is None.
        num_samples: draws per datum of a look.
        seed: of the run and of the looks.
        **fit_options: of ``fit``.

    Raises:
        ModelError: the epochs do not increase, or the pair or a setting is refused.
    """
    stops = [integer("epochs", epoch) for epoch in epochs]
    if not stops or sorted(set(stops)) != stops:
        raise ModelError(f"epochs: expected increasing integers, at least one, got {list(epochs)}")
    looks = []
    with TemporaryDirectory() as scratch:
        folder = scratch if out_dir is None else out_dir
        for stop in stops:
            with warnings.catch_warnings():
                if stop != stops[-1]:
                    # A schedule need not have ended at a look on the way.
                    warnings.filterwarnings("ignore", message=".*but the run has")
                fit(vae, data, epochs=stop, seed=seed, out_dir=folder, resume=True, **fit_options)
            looks.append(run_collapse(vae, x, num_samples=num_samples, seed=seed))
    return xr.concat(looks, pd.Index(np.array(stops), name="epoch"), combine_attrs="override")
