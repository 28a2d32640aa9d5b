r"""Coherence of a model of several modalities, judged by classifiers of single modalities that it has never seen.

    conditional    share of draws of x_a given x_b that the classifier of a takes for the true class of the datum
    joint          share of draws from the prior of whose modalities all classifiers say the same class
    (Shi, Siddharth, Paige & Torr 2019, section 4.2)

A share is no better than its judge: it is to be read beside the classifier's own accuracy on held-out data.

Shi, Siddharth, Paige & Torr (2019): https://arxiv.org/abs/1911.03393
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer
from ppl_vae.errors import DataError, ModelError
from ppl_vae.randomness import derived_seed, seeded

# The name of this file's stream under a seed.
STREAM = 84


class Blocks(Protocol):
    """How data are cut into modalities."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modalities."""

    def split(self, x: Tensor) -> Mapping[str, Tensor]:
        """The modalities of data by name."""


class OfModalities(Protocol):
    """A model of several modalities, as ``models.MultimodalVAE`` is."""

    @property
    def blocks(self) -> Blocks:
        """How data are cut into modalities."""

    def hide(self, x: Array, *names: str) -> Tensor:
        """Data with some modalities missing."""

    def complete(self, x: Array, num_draws: int = 1, with_noise: bool = False) -> Tensor:
        """Draws of whole data given the modalities that are there: [num_draws, N, *event_shape]."""

    def sample(self, num_samples: int, with_noise: bool = False) -> Tensor:
        """Draws of whole data: [num_samples, *event_shape]."""


class Classifier(Protocol):
    """A classifier in scikit-learn's manner."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The classes [n] of rows [n, D]."""


def conditional_coherence(
    vae: OfModalities,
    classifiers: Mapping[str, Classifier],
    x: Array,
    y: Array,
    asked: str,
    num_draws: int = 10,
    *,
    seed: int = 0,
) -> float:
    """Compute the share of draws of one modality, given all others, that have the class of their datum.

    Args:
        vae: the model; in evaluation mode, as ``fit`` leaves it.
        classifiers: of flattened modalities [n, D], by name.
        x: whole data [N, *event_shape].
        y: their classes, integers [N].
        asked: the name of the modality that is drawn; draws are means of p(x|z).
        num_draws: of each datum.
        seed: of the draws.

    Raises:
        DataError: there are not as many classes as data.
        ModelError: the modality is unknown, or has no classifier.
    """
    data, classes = to_tensor(x), to_tensor(y)
    if len(classes) != len(data):
        raise DataError(f"y: expected one class for each of {len(data)} data, found {len(classes)}")
    _require(vae, classifiers, (asked,))
    with seeded(derived_seed(seed, STREAM, 0)):
        draws = vae.complete(vae.hide(data, asked), integer("num_draws", num_draws))
    found = _classes(vae, classifiers, draws.flatten(0, 1), asked)
    return float((found == classes.cpu().numpy()[None].repeat(num_draws, 0).ravel()).mean())


def joint_coherence(
    vae: OfModalities, classifiers: Mapping[str, Classifier], num_samples: int = 1000, *, seed: int = 0
) -> float:
    """Compute the share of draws from the prior whose modalities are all taken for the same class.

    Args:
        vae: the model.
        classifiers: of flattened modalities [n, D], for every modality by name.
        num_samples: how many draws.
        seed: of the draws.

    Raises:
        ModelError: a modality has no classifier.
    """
    _require(vae, classifiers, vae.blocks.names)
    with seeded(derived_seed(seed, STREAM, 1)):
        draws = vae.sample(integer("num_samples", num_samples))
    found = np.stack([_classes(vae, classifiers, draws, name) for name in vae.blocks.names])
    return float((found == found[0]).all(0).mean())


def _classes(vae: OfModalities, classifiers: Mapping[str, Classifier], draws: Tensor, name: str) -> np.ndarray:
    part = vae.blocks.split(draws)[name].detach().cpu().flatten(1).to(torch.float64)
    return classifiers[name].predict(part.numpy())


def _require(vae: OfModalities, classifiers: Mapping[str, Classifier], names: tuple[str, ...]) -> None:
    for name in names:
        if name not in vae.blocks.names:
            raise ModelError(f"modalities are {', '.join(map(repr, vae.blocks.names))}, found {name!r}")
        if name not in classifiers:
            raise ModelError(f"modality {name!r} has no classifier")
