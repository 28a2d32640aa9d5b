"""The names of the coordinates that a model was trained on, so that others are not taken for them.

A column is a number to a network. Data whose columns stand in another order have the right shape and wrong
numbers, so that names are remembered for as long as the model lives, and compared wherever data have some; those of
covariates alike. A model of ours keeps them itself, and on disk. Data without names, and names of other columns,
are taken as they come.
"""

from __future__ import annotations

import contextlib
import weakref

from ppl_vae.containers import CoordinateNames, Labels, require_same_order
from ppl_vae.inference.pair.learned import lasting
from ppl_vae.inference.pair.protocols import KeepsCoordinateNames, Program

# Of programs that do not keep them.
_TRAINED_ON: weakref.WeakKeyDictionary[object, CoordinateNames] = weakref.WeakKeyDictionary()


def remember_coordinates(model: Program, labels: Labels | None) -> None:
    """Keep the names of the training data's coordinates, where they have some."""
    names = {} if labels is None else labels.coordinates()
    if not names:
        return
    owner = lasting(model)[0]
    if isinstance(owner, KeepsCoordinateNames):
        owner.coordinate_names = names
        return
    with contextlib.suppress(TypeError):
        _TRAINED_ON[owner] = names


def require_same_coordinates(model: Program, labels: Labels) -> None:
    """Refuse data whose coordinates are those of the training data in another order.

    Raises:
        DataError: they are; both orders are shown.
    """
    require_same_order(_trained_on(model), labels)


def _trained_on(model: Program) -> CoordinateNames:
    owner = lasting(model)[0]
    if isinstance(owner, KeepsCoordinateNames):
        return owner.coordinate_names
    try:
        return _TRAINED_ON.get(owner, {})
    except TypeError:
        return {}
