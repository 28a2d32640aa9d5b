"""The form of a published table: rows that are trained and scored alike, the paper's figures, its comparisons."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae.data.dataset import Dataset, Split

TANH = {"name": "mlp", "hidden": (200, 200), "activation": "tanh"}


@dataclass(frozen=True)
class Run:
    """The circumstances of one training run.

    Attributes:
        seed: of weights, batches and draws.
        passes: over the training data; below one, each of the first images is seen once.
        folder: of checkpoints, from which an interrupted run goes on; None keeps nothing.
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; None leaves torch's number.
        start: a trained pair with whose weights this one begins.
        compile: as ``fit`` takes it.
    """

    seed: int
    passes: float
    folder: Path | None = None
    device: str = "auto"
    threads: int | None = None
    start: Any = None
    compile: bool | Literal["auto"] = "auto"

    def data(self, ds: Dataset) -> Dataset:
        """The training data of this run, and of the test split what a fit's own history needs."""
        seen = max(1, round(min(self.passes, 1.0) * len(ds.train)))
        return replace(ds, train=first_of(ds.train, seen), test=first_of(ds.test, 100))

    @property
    def epochs(self) -> int:
        """Whole passes over ``data``."""
        return max(1, round(self.passes))

    def steps(self, ds: Dataset, batch_size: int) -> int:
        """The optimiser's steps."""
        return self.epochs * -(-len(self.data(ds).train) // batch_size)

    def begun(self, pair: Any) -> Any:
        """The pair, with the weights of this run's start if it has one."""
        if self.start is not None:
            pair.load_state_dict(self.start.state_dict())
        return pair

    def fit(self, recipe: Any, ds: Dataset, **settings: Any) -> None:
        """Train in place on the first images, from the last checkpoint where there is one."""
        pv.fit(
            recipe, self.data(ds), epochs=self.epochs, seed=self.seed, device=self.device, num_threads=self.threads,
            compile=self.compile, out_dir=self.folder, resume=self.folder is not None, **settings,
        )  # fmt: skip


def first_of(split: Split, number: int) -> Split:
    """The first data of a split."""
    return Split(split.x[:number], None if split.y is None else split.y[:number])


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: as the paper calls it.
        train: makes a pair and trains it.
        published: the paper's figures, by binarisation and measure.
        start: of the table's starts, the one that a short run of this row begins with.
    """

    label: str
    train: Callable[[Dataset, Run], Any]
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    start: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A statement of the paper: by a measure, one row has the greater value."""

    says: str
    measure: str
    greater: str
    less: str


@dataclass(frozen=True)
class Scores:
    """What a trained pair got on test data.

    Attributes:
        per_datum: measures by name, [N] each; their means stand in the table.
        numbers: others by name.
    """

    per_datum: Mapping[str, np.ndarray]
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A published table.

    Attributes:
        name: as the command takes it.
        paper: with the number of the table.
        passes: of the paper's schedule over the training data.
        rows: in the paper's order.
        score: a trained pair, test data and a seed -> its scores.
        comparisons: what the paper says of its rows.
        binarizations: allowed ways of making 0/1 data; the first by default.
        differs: where this is not the paper's protocol.
        beside: numbers beside the rows, from the trained pairs by label, the data and a seed.
        starts: what makes and trains a pair that all rows with the same network begin with where a budget cuts the
            schedule short: one draw a datum costs little, so that it comes far beyond what k draws could pay for.
    """

    name: str
    paper: str
    passes: float
    rows: tuple[Row, ...]
    score: Callable[[Any, Split, int], Scores]
    comparisons: tuple[Comparison, ...] = ()
    binarizations: tuple[str, ...] = ("dynamic",)
    differs: tuple[str, ...] = ()
    beside: Callable[[Mapping[str, Any], Dataset, int], Mapping[str, Any]] | None = None
    starts: Mapping[str, Callable[[Dataset, Run], Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stages:
    """The learning rate's factor 10^(-i/7) in stage i = 0, ..., 7, 3^i of 3280 parts long (Burda et al. 2016).

    Attributes:
        steps: of the whole run.
    """

    steps: int

    def __call__(self, step: Tensor) -> Tensor:
        """The factor at a step."""
        ends = torch.tensor([self.steps * (3**i - 1) / 2 / 3280 for i in range(1, 8)], device=step.device)
        return 10.0 ** (-(step >= ends).sum() / 7)


def start_at_the_mean(vae: Any, x: Tensor) -> Any:
    """Let the decoder's last bias be the logit of the data's mean; the pair."""
    last = vae.model.decoder[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias.copy_(x.mean(0).flatten().clamp(0.001, 0.999).logit())
    return vae


def train_by_stages(
    make: Callable[[tuple[int, ...], int], Any], objective: Callable[[], Any], ds: Dataset, run: Run
) -> Any:
    """Train as Burda et al. 2016: batches of 20, Adam from 1e-3 in eight stages, the decoder started at the mean.

    Their 1e-4 beside the root of the second moment stands against the gradient of a sum over 20 data.
    """
    vae = run.begun(start_at_the_mean(make(ds.event_shape, run.seed), ds.train.x))
    adam = functools.partial(torch.optim.Adam, eps=1e-4 / 20)
    run.fit(vae, ds, elbo=objective(), batch_size=20, lr=1e-3, optimizer=adam, schedule=Stages(run.steps(ds, 20)))
    return vae


def one_layer(event_shape: tuple[int, ...], seed: int) -> Any:
    """784-200-200-50, tanh: the network of Burda et al. 2016 and of those that compare themselves with it."""
    scale = {"name": "diagonal", "scale": "log-scale"}
    return pv.VAE(event_shape, latent_dim=50, network=TANH, posterior=scale, seed=seed)
