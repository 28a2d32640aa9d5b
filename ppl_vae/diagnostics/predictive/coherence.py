r"""Coherence of a model of several modalities, judged by classifiers of single modalities that it has never seen.

    conditional    share of draws of x_a given x_b that the classifier of a takes for the true class of the datum
    joint          share of draws from the prior of whose modalities all classifiers say the same class
    (Shi, Siddharth, Paige & Torr 2019, section 4.2)

A share is no better than its judge: it is to be read beside the classifier's own accuracy on held-out data.

Shi, Siddharth, Paige & Torr (2019): https://arxiv.org/abs/1911.03393
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.pair import PairLike, as_pair
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


@runtime_checkable
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


def run_coherence(
    vae: PairLike,
    classifiers: Mapping[str, Classifier],
    x: Array,
    y: Array,
    num_draws: int = 10,
    num_samples: int = 1000,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the coherence of every modality given all others, and of draws from the prior.

    Args:
        vae: a model of several modalities, or a recipe of one; in evaluation mode, as ``fit`` leaves it.
        classifiers: of flattened modalities [n, D], for every modality by name.
        x: whole held-out data [N, *event_shape].
        y: their classes, integers [N].
        num_draws: of one modality given the others, of each datum; draws are means of p(x|z).
        num_samples: draws from the prior.
        seed: of the draws.

    Returns:
        Over "modality": ``conditional`` with ``conditional_stderr`` over data, and ``accuracy``, the classifier's
        own share of true classes on x. ``joint`` with ``joint_stderr`` over draws. All are shares from 0 to 1.

    Raises:
        DataError: there are not as many classes as data, or fewer than two.
        ModelError: the model has no modalities, or one of them has no classifier.
    """
    model = as_pair(vae).source
    if not isinstance(model, OfModalities):
        raise ModelError(f"coherence is of a model of several modalities, got {type(model).__name__}")
    names = tuple(model.blocks.names)
    for name in names:
        if name not in classifiers:
            raise ModelError(f"modality {name!r} has no classifier")
    data, classes = to_tensor(x), to_tensor(y).cpu().numpy()
    if len(classes) != len(data) or len(data) < 2:
        raise DataError(f"y: expected one class for each of {len(data)} data, two or more, found {len(classes)}")
    shares = [
        _agreement(model, classifiers, data, classes, name, integer("num_draws", num_draws), seed) for name in names
    ]
    joint = _joint(model, classifiers, integer("num_samples", num_samples, least=2), seed)
    accuracy = [float((_classes(model, classifiers, data, name) == classes).mean()) for name in names]
    return xr.Dataset(
        {
            "conditional": ("modality", [float(share.mean()) for share in shares]),
            "conditional_stderr": ("modality", [_stderr(share) for share in shares]),
            "accuracy": ("modality", accuracy),
            "joint": float(joint.mean()),
            "joint_stderr": _stderr(joint),
        },
        {"modality": list(names)},
        {"num_data": len(data), "num_draws": num_draws, "num_samples": num_samples, "seed": seed},
    )


def _agreement(
    model: OfModalities,
    classifiers: Mapping[str, Classifier],
    x: Tensor,
    classes: NDArray[Any],
    asked: str,
    num_draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """The share of draws of one modality, given all others, that have the class of their datum: [N]."""
    with seeded(derived_seed(seed, STREAM, 0)):
        draws = model.complete(model.hide(x, asked), num_draws)
    found = _classes(model, classifiers, draws.flatten(0, 1), asked).reshape(num_draws, -1)
    return np.asarray((found == classes).mean(0), dtype=float)


def _joint(
    model: OfModalities, classifiers: Mapping[str, Classifier], num_samples: int, seed: int
) -> NDArray[np.float64]:
    """Tell whether all modalities of a draw from the prior are taken for one class: [num_samples], 0 or 1."""
    with seeded(derived_seed(seed, STREAM, 1)):
        draws = model.sample(num_samples)
    found = np.stack([_classes(model, classifiers, draws, name) for name in model.blocks.names])
    return np.asarray((found == found[0]).all(0), dtype=float)


def _stderr(shares: NDArray[np.float64]) -> float:
    return float(shares.std(ddof=1) / np.sqrt(len(shares)))


def _classes(model: OfModalities, classifiers: Mapping[str, Classifier], draws: Tensor, name: str) -> NDArray[Any]:
    part = model.blocks.split(draws)[name].detach().cpu().flatten(1).to(torch.float64)
    return np.asarray(classifiers[name].predict(part.numpy()))
