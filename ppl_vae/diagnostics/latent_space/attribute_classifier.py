"""A classifier of attributes, trained on real images that the model under judgement has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.decomposition import PCA
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.errors import DataError
from ppl_vae.renamed import by_keyword

COMPONENTS = 64
HIDDEN = (128,)
EPOCHS = 200


@dataclass(frozen=True)
class AttributeClassifier:
    """A classifier from images [n, *event_shape] to the probability of every attribute [n, A], each by itself.

    Attributes:
        names: of the A attributes.
        network: what scikit-learn has fitted.
    """

    names: tuple[str, ...]
    network: Any

    def __call__(self, images: Tensor) -> Tensor:
        """Return probabilities [n, A]."""
        flat = images.detach().cpu().flatten(1).double().numpy()
        # Of a single attribute scikit-learn gives two columns, without and with.
        return torch.from_numpy(self.network.predict_proba(flat))[:, -len(self.names) :]

    def accuracy(self, images: Tensor, has: Tensor) -> dict[str, float]:
        """Compute the share of images [n, *event_shape] that are judged as ``has`` [n, A] says, by attribute."""
        right = (self(images) > 0.5) == has.cpu()
        return dict(zip(self.names, right.double().mean(0).tolist(), strict=True))


@by_keyword("seed")
def fit_attribute_classifier(
    images: Tensor, has: Tensor, names: Sequence[str], *, seed: int = 0
) -> AttributeClassifier:
    """Train a classifier of binary attributes: principal components, then one hidden layer.

    The components that vary little are left out, so that a blurred image is judged by what it shows.

    Args:
        images: real images that neither the model nor what is judged was made of, [n, *event_shape].
        has: whether each has each attribute, boolean [n, A].
        names: of the A attributes.
        seed: of the initial weights and the batches.

    Raises:
        DataError: shapes that do not fit, or an attribute that all images or none have.
    """
    integer("seed", seed, least=0)
    _check(images, has, names)
    steps = [
        ("components", PCA(min(COMPONENTS, len(images), images[0].numel()), whiten=True, random_state=seed)),
        ("network", MLPClassifier(HIDDEN, alpha=1e-2, max_iter=EPOCHS, early_stopping=True, random_state=seed)),
    ]
    # One attribute is a column of classes to scikit-learn, several are a matrix of indicators.
    wanted = has.int().numpy() if len(names) > 1 else has[:, 0].int().numpy()
    network = Pipeline(steps).fit(images.flatten(1).double().numpy(), wanted)
    return AttributeClassifier(tuple(names), network)


def _check(images: Tensor, has: Tensor, names: Sequence[str]) -> None:
    wanted = (len(images), len(names))
    if has.dtype != torch.bool or tuple(has.shape) != wanted or not len(names):
        raise DataError(f"has: expected booleans {list(wanted)}, found {has.dtype} {list(has.shape)}")
    for name, column in zip(names, has.unbind(1), strict=True):
        count = int(column.sum())
        if count in (0, len(has)):
            raise DataError(
                f"attribute {name!r}: expected images with and without, found {count} of {len(has)} with"
            )
