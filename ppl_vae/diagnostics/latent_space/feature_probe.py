r"""Codes as features: the accuracy of a linear classifier on them when few labels are known.

All training data are seen by the model, labels by the classifier alone: a logistic regression on n labelled codes,
over random subsets of n, and on other features (pixels, say) from the very same subsets (Alain & Bengio 2016;
Kingma, Mohamed, Rezende & Welling 2014, model M1). Features have mean 0 and variance 1 over the training data, so
that units and offsets do not matter.

Alain & Bengio 2016, https://arxiv.org/abs/1610.01644; Kingma et al. 2014, https://arxiv.org/abs/1406.5298.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.errors import DataError
from ppl_vae.renamed import by_keyword

MOST_STEPS = 5000
# A feature whose spread is less than this share of its largest value does not vary, and keeps its scale.
LEAST_SCALE = 1e-12


@by_keyword("seed")
def run_feature_probe(
    features: Mapping[str, tuple[Tensor, Tensor]],
    y: Tensor,
    y_test: Tensor,
    num_labels: Sequence[int] = (10, 30, 100, 300),
    num_subsets: int = 20,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Measure the accuracy of a logistic regression on each kind of features, against the number of labels.

    Args:
        features: by name, features of the training data [N, *] and of held-out data [M, *].
        y: labels of the training data [N].
        y_test: labels of the held-out data [M].
        num_labels: values of n, each at most N and large enough for a subset of two classes.
        num_subsets: how many random subsets of each size; the same for all features.
        seed: of the subsets.

    Returns:
        Over "features" and "num_labels": ``accuracy`` on the held-out data, the mean over subsets, and ``stderr``,
        its standard error over subsets; ``single`` has every subset's own, along "subset".

    Raises:
        DataError: features that do not fit the labels, or a number of labels that cannot be drawn.
        ModelError: ``num_subsets`` or ``seed`` is no integer in range.
    """
    num_subsets, seed = integer("num_subsets", num_subsets, least=2), integer("seed", seed, least=0)
    _check(features, y, y_test, num_labels)
    generator = np.random.default_rng(seed)
    subsets = [[_subset(generator, y.numpy(), n) for _ in range(num_subsets)] for n in num_labels]
    single = np.array(
        [
            [[_accuracy(train, test, y, y_test, chosen) for chosen in same_size] for same_size in subsets]
            for train, test in map(_scaled, features.values())
        ]
    )
    dims = ("features", "num_labels")
    variables = {
        "accuracy": (dims, single.mean(-1)),
        "stderr": (dims, single.std(-1, ddof=1) / math.sqrt(num_subsets)),
        "single": ((*dims, "subset"), single),
    }
    coordinates = {"features": list(features), "num_labels": list(num_labels)}
    return xr.Dataset(variables, coordinates, {"num_subsets": num_subsets, "seed": seed})


def _check(
    features: Mapping[str, tuple[Tensor, Tensor]], y: Tensor, y_test: Tensor, num_labels: Sequence[int]
) -> None:
    if not features:
        raise DataError("features: expected at least one kind, found none")
    for name, (train, test) in features.items():
        if (len(train), len(test)) != (len(y), len(y_test)):
            found = f"{len(train)} and {len(test)}"
            raise DataError(f"features {name!r}: expected {len(y)} and {len(y_test)} rows, found {found}")
    if len(y.unique()) < 2:
        raise DataError("y: expected two classes or more")
    for n in num_labels:
        if not 2 <= integer("num_labels", n) <= len(y):
            raise DataError(f"num_labels: expected numbers from 2 to {len(y)}, found {n}")


def _subset(generator: np.random.Generator, y: np.ndarray, size: int) -> np.ndarray:
    """Draw indices of a random subset with at least two classes."""
    while True:
        chosen = generator.choice(len(y), size, replace=False)
        if len(np.unique(y[chosen])) > 1:
            return chosen


def _scaled(pair: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Features of training and held-out data about the training mean, in units of the training spread."""
    train, test = (part.detach().flatten(1).double().cpu().numpy() for part in pair)
    centre = train.mean(0)
    scale = (train - centre).std(0)
    # The rounding of a mean is no spread.
    scale[scale <= LEAST_SCALE * np.abs(train).max(0, initial=0.0)] = 1.0
    return (train - centre) / scale, (test - centre) / scale


def _accuracy(train: np.ndarray, test: np.ndarray, y: Tensor, y_test: Tensor, chosen: np.ndarray) -> float:
    fitted = LogisticRegression(max_iter=MOST_STEPS).fit(train[chosen], y.numpy()[chosen])
    return float(fitted.score(test, y_test.numpy()))
