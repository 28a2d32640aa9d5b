"""Refusals of data that one of Pyro's autoguides cannot take, because it remembers the first data that it met.

An autoguide makes the model's plates itself, as long as those of its first run unless ``create_plates`` makes them
anew; over local sites it has parameters for each datum besides, which no plates help.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyro
from pyro.infer.autoguide import AutoCallable, AutoGuide, AutoGuideList
from torch import Tensor

from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.plates import MISFITS, TWICE
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.wrapping import innermost

_OF_PLATES = (*MISFITS, "Shape mismatch inside plate", "stands in a plate of size", "do not fit these data")


class AutoguideError(ModelError):
    """An autoguide's plates or parameters are of other data than those at hand."""


@contextlib.contextmanager
def autoguide_refusals(guide: Program, x: object) -> Iterator[None]:
    """Name the cause and the remedy where an autoguide fails on x because its first data were others.

    Raises:
        AutoguideError: it does.
    """
    try:
        yield
    except Exception as error:
        words = None if isinstance(error, DataError) else _cause(innermost(guide), x, str(error))
        if words is None:
            raise
        raise AutoguideError(words) from error


def _cause(guide: Program, x: object, complaint: str) -> str | None:
    """Say what is wrong and what to do; None where an autoguide has no part in it."""
    kind = type(guide).__name__
    if isinstance(guide, AutoGuideList) and TWICE in complaint:
        return (
            f"{complaint.partition('; ')[0]}: {kind} makes the model's plates itself, so that the plate of a guide "
            "in it needs another name"
        )
    if not isinstance(guide, AutoGuide) or not isinstance(x, Tensor) or not any(w in complaint for w in _OF_PLATES):
        return None
    frames = (guide._prototype_frames or {}) if guide.prototype_trace is not None else {}
    other = [f for f in frames.values() if f.size != len(x) and (repr(f.name) in complaint or len(frames) == 1)]
    if not other:
        return _left_in_the_store(guide, len(x))
    met = f"{kind} was first called with {other[0].size} data and now meets {len(x)}"
    if _has_a_row_for_each(guide):
        return (
            f"{met}, but has parameters for the latents of each of them: take all data at once (batch_size of all "
            "data), or let a guide that is a function of x draw the local sites"
        )
    plate = f"create_plates=lambda x: pyro.plate({other[0].name!r}, len(x))"
    return f"{met}, but remembers the first plate {other[0].name!r}: make it with {kind}(model, {plate})"


def _left_in_the_store(guide: AutoGuide, num_data: int) -> str | None:
    """Words on a parameter of other data that another guide of the same name has left in Pyro's store."""
    for name, value in pyro.get_param_store().items():
        if name.startswith(f"{guide._pyro_name}.") and value.dim() and num_data not in value.shape:
            return (
                f"param {name!r} {list(value.shape)} is of other data than the {num_data} at hand: Pyro's store "
                "keeps what an earlier guide of this name has left; call pyro.clear_param_store() before a new one"
            )
    return None


def _has_a_row_for_each(guide: AutoGuide) -> bool:
    """Tell whether an autoguide, or one in a list, draws sites that stand in plates."""
    parts = list(guide) if isinstance(guide, AutoGuideList) else [guide]
    return any(not isinstance(part, AutoCallable) and bool(part._prototype_frames) for part in parts)
