"""Burda, Grosse & Salakhutdinov 2016, Table 1: VAE and IWAE with k draws, one and two stochastic layers.

https://arxiv.org/abs/1509.00519. Their fixed binarisation is that of Larochelle & Murray 2011; ours is drawn once
from the grey images under a seed, so that a figure of theirs is compared with another draw of the same kind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ppl_vae as pv
from ppl_vae import inference as inf
from tables.scores import NLL, likelihood_and_units
from tables.table import TANH, Comparison, Row, Table, one_layer, train_by_stages

LAYERS = {1: "one layer", 2: "two layers"}
OBJECTIVES = {"VAE": inf.MonteCarloKL, "IWAE": inf.ImportanceWeighted}
# By layers, model and k.
DYNAMIC = {
    (1, "VAE"): {1: 86.76, 5: 86.47, 50: 86.35},
    (1, "IWAE"): {5: 85.54, 50: 84.78},
    (2, "VAE"): {1: 85.33, 5: 85.01, 50: 84.78},
    (2, "IWAE"): {5: 83.89, 50: 82.90},
}
FIXED = {(1, "VAE", 1): 88.71, (1, "IWAE", 5): 87.63, (1, "IWAE", 50): 87.10}


def two_layers(event_shape: tuple[int, ...], seed: int) -> Any:
    """784-200-200-100, 100-100-100-50, tanh."""
    return pv.models.HierarchicalVAE(
        event_shape, latent_dims=(100, 50), network=TANH, hidden={**TANH, "hidden": (100, 100)}, seed=seed
    )


def make(layers: int) -> Callable[[tuple[int, ...], int], Any]:
    """What makes a pair of so many layers."""
    return one_layer if layers == 1 else two_layers


def label(layers: int, model: str, k: int) -> str:
    """As in the paper's table."""
    return f"{model}, k={k}, {LAYERS[layers]}"


def row(layers: int, model: str, k: int, figure: float) -> Row:
    """One row; with k=1 the two models are one."""
    objective = functools.partial(OBJECTIVES[model], num_particles=k)
    published = {"dynamic": {NLL: figure}}
    if (layers, model, k) in FIXED:
        published["stochastic"] = {NLL: FIXED[layers, model, k]}
    train = functools.partial(train_by_stages, make(layers), objective)
    return Row(label(layers, model, k), train, published, LAYERS[layers])


BURDA_2016 = Table(
    name="burda-2016",
    paper="Burda, Grosse & Salakhutdinov 2016, Table 1",
    passes=3280,
    rows=tuple(
        row(*kind, k, figure) for kind, by_k in DYNAMIC.items() for k, figure in by_k.items()
    ),
    score=likelihood_and_units,
    comparisons=tuple(
        Comparison("IWAE over VAE", NLL, label(layers, "VAE", k), label(layers, "IWAE", k))
        for layers in (1, 2)
        for k in (5, 50)
    )
    + tuple(
        Comparison("two layers over one", NLL, label(1, model, 50), label(2, model, 50)) for model in OBJECTIVES
    ),
    binarizations=("stochastic", "dynamic"),
    starts={
        name: functools.partial(train_by_stages, make(layers), inf.MonteCarloKL) for layers, name in LAYERS.items()
    },
    differs=(
        "weights are drawn anew in every layer and batches are shuffled",
        "Adam's second moment starts at zero, its decay of the mean is 0.9",
        "of two stochastic layers the scales are softplus",
        "fixed binarisation: one Bernoulli draw under our seed, not the published one",
    ),
)  # fmt: skip
