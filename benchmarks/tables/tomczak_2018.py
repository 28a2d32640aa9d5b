"""Tomczak & Welling 2018, Table 1: a VampPrior of 500 pseudo-inputs against the standard prior, one layer.

https://arxiv.org/abs/1705.07120.
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

NETWORK = {"name": "mlp", "hidden": (300, 300), "activation": "relu"}
BATCH, PASSES, WARM_UP_PASSES = 100, 2000, 100
PRIORS: dict[str, Any] = {"standard": "standard", "VampPrior": {"name": "vamp", "num_components": 500}}
PUBLISHED = {"standard": (84.50, 88.56), "VampPrior": (82.38, 85.57)}


def train(prior: Any, ds: Dataset, run: Run) -> Any:
    """784-300-300-40; Adam 5e-4 in batches of 100, the weight of the KL rises in the first twentieth of the run."""
    vae = pv.VAE(ds.event_shape, latent_dim=40, network=NETWORK, prior=prior, seed=run.seed)
    vae.initialise(ds.train.x, seed=run.seed)
    rising = schedules.linear(max(1, round(WARM_UP_PASSES / PASSES * run.steps(ds, BATCH))))
    run.fit(vae, ds, elbo=inf.Annealed("monte-carlo-kl", rising), batch_size=BATCH, lr=5e-4)
    return vae


TOMCZAK_2018 = Table(
    name="tomczak-2018",
    paper="Tomczak & Welling 2018, Table 1 (dynamic and static MNIST, one layer)",
    passes=PASSES,
    rows=tuple(
        Row(
            label,
            functools.partial(train, prior),
            {"dynamic": {NLL: PUBLISHED[label][0]}, "stochastic": {NLL: PUBLISHED[label][1]}},
        )
        for label, prior in PRIORS.items()
    ),
    score=likelihood_and_units,
    comparisons=(Comparison("VampPrior over the standard prior", NLL, "standard", "VampPrior"),),
    binarizations=("dynamic", "stochastic"),
    differs=(
        "rectifiers instead of gated layers, Adam on the gradient as it is and not on its direction",
        "trained on all 60,000 images for a fixed number of passes: the paper keeps 10,000 to stop early by",
        "static data: one Bernoulli draw under our seed, not the published one",
    ),
)
