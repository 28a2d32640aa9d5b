"""Kingma, Mohamed, Rezende & Welling 2014, Table 1: the test error of M2 on MNIST with few labels.

https://arxiv.org/abs/1406.5298. The model and its training are those of ``mnist_semi_supervised.py``, on as many
images as a budget allows.
"""

from __future__ import annotations

import argparse
import functools
from dataclasses import replace
from typing import Any

import mnist_semi_supervised as ours
import numpy as np
import torch

import ppl_vae as pv
from ppl_vae.data.dataset import Dataset, Split
from tables.table import Comparison, Row, Run, Scores, Table

ERROR = "test error, percent"
# By labels: M2, and a network on the labels alone.
PUBLISHED = {100: (11.97, 25.81), 600: (4.94, 11.44), 1000: (3.60, 10.70), 3000: (3.92, 6.04)}
SETTINGS = {"latent_dim": 50, "alpha": 30.0, "batch_size": 50, "lr": 2e-3}


def options(run: Run) -> argparse.Namespace:
    """The circumstances as that script's options."""
    return argparse.Namespace(**SETTINGS, epochs=run.epochs, threads=run.threads, device=run.device)


def few_labels(labels: int, ds: Dataset, run: Run) -> Dataset:
    """The data with so many labels, all of the labelled images among those of the run."""
    number = len(run.data(ds).train)
    hidden = pv.data.hide_labels(ds, min(labels, len(ds.train) // 2), seed=run.seed)
    chosen = (hidden.train.y == -1).long().argsort(stable=True)[: max(number, 2 * labels)]
    return replace(hidden, train=Split(hidden.train.x[chosen], hidden.train.y[chosen]))


def train_m2(labels: int, ds: Dataset, run: Run) -> Any:
    """M2 on the labelled data first, then on all; labelled images are repeated until they are a tenth."""
    few = few_labels(labels, ds, run)
    times = max(1, round(ours.LABELLED_SHARE * len(few.train) / labels))
    return ours.trained(pv.data.repeat_labelled(few, times), options(run), run.seed, run.folder)


def train_classifier(labels: int, ds: Dataset, run: Run) -> Any:
    """The encoder of M2 on the labelled data alone."""
    return ours.trained_classifier(few_labels(labels, ds, run), options(run), run.seed)


@torch.no_grad()
def score(pair: Any, test: Split, seed: int) -> Scores:
    """100 where the likeliest class is wrong, 0 where it is right."""
    assert test.y is not None
    device = next(iter(pair.guide.parameters())).device
    found = torch.cat([pair.classify(x.to(device)).logits.argmax(-1).cpu() for x in test.x.split(1000)])
    return Scores({ERROR: 100.0 * (found != test.y).double().numpy().astype(np.float64)})


def rows(labels: int) -> tuple[Row, Row]:
    """The two rows with so many labels."""
    figures = [{"dynamic": {ERROR: figure}} for figure in PUBLISHED[labels]]
    return (
        Row(f"M2, {labels} labels", functools.partial(train_m2, labels), figures[0]),
        Row(f"network, {labels} labels", functools.partial(train_classifier, labels), figures[1]),
    )


KINGMA_2014_SS = Table(
    name="kingma-2014-ss",
    paper="Kingma, Mohamed, Rezende & Welling 2014, Table 1",
    passes=3000,
    rows=tuple(row for labels in PUBLISHED for row in rows(labels)),
    score=score,
    comparisons=tuple(
        Comparison("M2 over a network on the labels", ERROR, f"network, {labels} labels", f"M2, {labels} labels")
        for labels in PUBLISHED
    ),
    differs=(
        "one hidden layer of 300 rectifiers that q(y|x) shares, the classifier's weight is 30",
        "labelled images are repeated and seen alone first; the rate falls along half a cosine",
        "the paper does not state its passes in a table: 3000 is taken for the share that a budget allows",
    ),
)
