"""SCVI on the counts of ``benchmarks/count_peers.py``, run by an interpreter that has scvi-tools.

python scvi_counts.py DATA.npz OUT.json EPOCHS DRAWS
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np


def main(data: str, out: str, epochs: str, draws: str) -> None:
    """Train on the first part of the cells, and write log p(x) of every other one."""
    warnings.simplefilter("ignore")
    import anndata
    import scvi
    import torch

    torch.set_num_threads(1)
    scvi.settings.seed = 0
    given = np.load(data)

    def cells(part: str) -> anndata.AnnData:
        made = anndata.AnnData(given[f"x_{part}"].astype(np.float32))
        made.obs["batch"] = given[f"batch_{part}"].astype(str)
        return made

    train, held = cells("train"), cells("test")
    scvi.model.SCVI.setup_anndata(train, batch_key="batch")
    model = scvi.model.SCVI(
        train, n_hidden=128, n_latent=10, n_layers=1, dropout_rate=0.0, gene_likelihood="nb",
        use_observed_lib_size=False, use_batch_norm="none", use_layer_norm="none",
    )  # fmt: skip
    began = time.perf_counter()
    # Without a warm-up of the KL, which would be longer than the run.
    model.train(
        max_epochs=int(epochs), batch_size=128, train_size=1.0, accelerator="cpu",
        plan_kwargs={"lr": 1e-3, "n_epochs_kl_warmup": None}, enable_progress_bar=False, logger=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    found = model.get_marginal_ll(held, n_mc_samples=int(draws), return_mean=False)
    per_cell = np.asarray(found.cpu() if hasattr(found, "cpu") else found).reshape(-1)
    Path(out).write_text(
        json.dumps({"version": scvi.__version__, "seconds": seconds, "per_cell": per_cell.tolist()})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
