"""The names of the coordinates that a model was trained on, so that others are not taken for them.

A column is a number to a network. Data whose columns stand in another order have the right shape and wrong numbers,
so that names are remembered for as long as the model lives, and compared wherever data have some. Data without
names, and names of other columns, are taken as they come.
"""

from __future__ import annotations

import contextlib
import weakref

import numpy as np

from ppl_vae.containers import Labels
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.learned import lasting
from ppl_vae.inference.pair.protocols import Program

_TRAINED_ON: weakref.WeakKeyDictionary[object, tuple[np.ndarray | None, ...]] = weakref.WeakKeyDictionary()
# As many names as an error shows.
SHOWN = 6


def remember_coordinates(model: Program, labels: Labels | None) -> None:
    """Keep the names of the training data's coordinates, where they have some."""
    if labels is not None and any(axis is not None for axis in labels.axes):
        with contextlib.suppress(TypeError):
            _TRAINED_ON[lasting(model)[0]] = labels.axes


def require_same_coordinates(model: Program, labels: Labels) -> None:
    """Refuse data whose coordinates are those of the training data in another order.

    Raises:
        DataError: they are; both orders are shown.
    """
    try:
        trained_on = _TRAINED_ON.get(lasting(model)[0], ())
    except TypeError:
        return
    for own, theirs in zip(trained_on, labels.axes, strict=False):
        if own is None or theirs is None or len(own) != len(theirs) or np.array_equal(own, theirs):
            continue
        if sorted(map(str, own)) == sorted(map(str, theirs)):
            raise DataError(
                f"data: the names along a dimension are those of the training data in another order: "
                f"{_shown(theirs)} where the model was trained on {_shown(own)}; bring them into that order"
            )


def _shown(names: np.ndarray) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
