"""Sonderby, Raiko, Maaloe, Sonderby & Winther 2016: the ladder VAE against a plain hierarchy of five levels.

https://arxiv.org/abs/1602.02282. No figure of theirs is held here, only the signs.
"""

from __future__ import annotations

import functools
from typing import Any

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data.dataset import Dataset
from ppl_vae.inference.objectives import schedules
from tables.scores import NLL, likelihood_and_units
from tables.table import Comparison, Row, Run, Table

LEVELS = (64, 32, 16, 8, 4)
NETWORK = {"name": "mlp", "hidden": (512, 512), "activation": "relu", "batch_norm": True}
BETWEEN = {"name": "mlp", "hidden": (128,), "activation": "relu", "batch_norm": True}
# A tenth of the paper's 2000 passes.
WARM_UP, BATCH = 0.1, 256
PROGRAMS = {"plain, five levels": pv.models.HierarchicalVAE, "ladder, five levels": pv.models.LadderVAE}


def train(program: Any, estimator: str, ds: Dataset, run: Run) -> Any:
    """Adam 1e-3 in batches of 256; the weight of the KL rises from 0 to 1 in the first tenth of the run."""
    vae = program(ds.event_shape, latent_dims=LEVELS, network=NETWORK, hidden=BETWEEN, seed=run.seed)
    rising = schedules.linear(max(1, round(WARM_UP * run.steps(ds, BATCH))))
    run.fit(vae, ds, elbo=inf.Annealed(inf.get_elbo(estimator), rising), batch_size=BATCH, lr=1e-3)
    return vae


ESTIMATORS = {"plain, five levels": "monte-carlo-kl", "ladder, five levels": "analytic-kl"}
SONDERBY_2016 = Table(
    name="sonderby-2016",
    paper="Sonderby, Raiko, Maaloe, Sonderby & Winther 2016, Table 1 (signs alone)",
    passes=2000,
    rows=tuple(
        Row(label, functools.partial(train, program, ESTIMATORS[label])) for label, program in PROGRAMS.items()
    ),
    score=likelihood_and_units,
    comparisons=(Comparison("ladder over plain", NLL, "plain, five levels", "ladder, five levels"),),
    differs=(
        "rectifiers do not leak; one network of 128 units between all levels; the heads are not normalised",
        "the paper's last phase with several importance weights is left out",
    ),
)
