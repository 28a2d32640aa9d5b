"""The data and labels of a call: placed where the pair's parameters are, and judged by their values once."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.errors import DataError
from ppl_vae.inference.pair.labels import Batch, check_labels, with_labels
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.placement import beside
from ppl_vae.inference.pair.protocols import Program, traits


def admitted(
    pair: PairLike, x: ArrayLike | Tensor, y: ArrayLike | Tensor | None = None, least: int = 1
) -> tuple[Pair, Batch]:
    """The pair, and what its programs are called with: (x,), or (x, y) where they take labels.

    Args:
        pair: whatever ``as_pair`` takes.
        x: [N, *event_shape].
        y: class labels [N]; of a pair that takes none they are not looked at.
        least: the fewest data.

    Raises:
        ModelError: it is no pair, or the data have another event shape; or it needs labels and there are none.
        DataError: there are fewer than ``least`` data, some value is outside the likelihood's support, or y does
            not fit.
    """
    pair = as_pair(pair)
    data = pair.place(x)
    if data.dim() == 0 or len(data) == 0:
        raise DataError(f"data are empty: shape {list(data.shape)}")
    check_data(pair.model, data, y)
    if len(data) < least:
        raise DataError(f"data: expected at least {least}, found shape {list(data.shape)}")
    return pair, with_labels(pair.model, data, y)


def check_data(model: Program, x: Any, y: Any = None, *_: Any, **__: Any) -> None:
    """Let a model that knows its data's support judge their values, and its labels', once before work begins.

    Further arguments of its programs are not looked at.
    """
    judge = traits(model).check_data
    if judge is not None and isinstance(x, Tensor):
        judge(x)
    check_labels(model, x, y)


def admit(model: Program, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Data that a model with a ``check_data`` has judged, where its parameters are; a user's own pass as they are.

    Args:
        model: the generative program.
        x: the data.
        *args: further arguments of the programs; labels are judged with the data.
        **kwargs: likewise.

    Raises:
        ModelError: x has another event shape, or labels are missing.
        DataError: x is empty, or some value is outside the likelihood's support.
    """
    if traits(model).check_data is None:
        return x
    data = beside(model, x)
    check_data(model, data, *args, **kwargs)
    return data
