"""The names of the coordinates that a model was trained on, so that others are not taken for them.

A column is a number to a network. Data whose columns stand in another order have the right shape and wrong
numbers, so that names are remembered for as long as the model lives, and compared wherever data have some; those of
covariates alike. A model of ours keeps them itself, and on disk. Data without names, and names of other columns,
are taken as they come.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence

from ppl_vae.containers import CoordinateNames, Labels
from ppl_vae.errors import DataError
from ppl_vae.inference.pair.learned import lasting
from ppl_vae.inference.pair.protocols import KeepsCoordinateNames, Program

# Of programs that do not keep them.
_TRAINED_ON: weakref.WeakKeyDictionary[object, CoordinateNames] = weakref.WeakKeyDictionary()
# As many names as an error shows.
SHOWN = 6


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
    trained_on = _trained_on(model)
    found = labels.coordinates() if trained_on else {}
    for name in trained_on.keys() & found.keys():
        for own, theirs in zip(trained_on[name], found[name], strict=False):
            if own is None or theirs is None or own == theirs or sorted(own) != sorted(theirs):
                continue
            raise DataError(
                f"{name or 'data'}: the names along a dimension are those of the training data in another order: "
                f"{_shown(theirs)} where the model was trained on {_shown(own)}; bring them into that order"
            )


def _trained_on(model: Program) -> CoordinateNames:
    owner = lasting(model)[0]
    if isinstance(owner, KeepsCoordinateNames):
        return owner.coordinate_names
    try:
        return _TRAINED_ON.get(owner, {})
    except TypeError:
        return {}


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
