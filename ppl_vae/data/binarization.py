"""Binarisation turns grey values into black and white, by a threshold or by draws.

threshold   b = 1 if x >= 1/2, else 0
stochastic  b ~ Bernoulli(x), every pixel by itself (Salakhutdinov and Murray, 2008)
dynamic     stochastic, drawn anew whenever a training batch is used (Burda et al., 2016,
            https://arxiv.org/abs/1509.00519)
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.data.dataset import Binarization, Dataset
from ppl_vae.errors import DataError, unknown_name

_DRAWN = ("threshold", "stochastic")


def binarize(x: ArrayLike | Tensor, policy: str, *, generator: torch.Generator | None = None) -> Tensor:
    """Grey values made 0 or 1.

    Args:
        x: floating point, any shape, values in [0, 1].
        policy: "threshold" (1 where x >= 0.5) or "stochastic" (Bernoulli(x), drawn once).
        generator: the source of a stochastic draw, on the device of x; torch's own by default.

    Returns:
        Zeros and ones in the shape and dtype of x.

    Raises:
        DataError: an unknown policy, or x not floating point, not finite or outside [0, 1].

    >>> binarize(torch.tensor([0.0, 0.4, 0.5, 1.0]), "threshold")
    tensor([0., 0., 1., 1.])
    """
    if policy == "dynamic":
        raise DataError("binarize: 'dynamic' is drawn by training, batch by batch; for one draw use 'stochastic'")
    if policy not in _DRAWN:
        raise DataError(unknown_name("binarization", policy, _DRAWN))
    x = to_tensor(x, "binarize")
    _check_grey(x)
    return (x >= 0.5).to(x.dtype) if policy == "threshold" else torch.bernoulli(x, generator=generator)


def check_policy(policy: str) -> None:
    """Refuse a policy that a data set cannot have.

    Raises:
        DataError: an unknown policy; the message has the nearest known one.
    """
    if policy not in get_args(Binarization):
        raise DataError(unknown_name("binarization", policy, get_args(Binarization)))


def binarized(dataset: Dataset, policy: Binarization, seed: int) -> Dataset:
    """The data set under a policy; the draws of one seed are the same in every process.

    The test split is drawn first, so that "stochastic" and "dynamic" have the same test data.

    Raises:
        DataError: an unknown policy, or values outside [0, 1].
    """
    check_policy(policy)
    if policy == "none":
        return dataset
    train, test = dataset.train, dataset.test
    if policy == "threshold":
        test, train = (replace(part, x=binarize(part.x, policy)) for part in (test, train))
        note = "binarized: 1 where the grey value is at least 0.5"
    else:
        generator = torch.Generator().manual_seed(seed)
        test = replace(test, x=binarize(test.x, "stochastic", generator=generator))
        note = f"test split binarized once, Bernoulli draws under seed {seed}"
        if policy == "stochastic":
            train = replace(train, x=binarize(train.x, "stochastic", generator=generator))
            note = f"both splits binarized once, Bernoulli draws under seed {seed}"
    return replace(dataset, train=train, test=test, binarization=policy, notes=(*dataset.notes, note))


def _check_grey(x: Tensor) -> None:
    if not x.is_floating_point():
        raise DataError(f"binarize: expected floating-point values in [0, 1], found dtype {x.dtype}")
    # Written so that NaN, for which every comparison is false, counts as outside.
    outside = ~((x >= 0) & (x <= 1))
    if outside.any():
        first = x[outside][0].item()
        raise DataError(f"binarize: expected values in [0, 1], found {int(outside.sum())} outside, such as {first}")
