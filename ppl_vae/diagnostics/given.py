"""Judge the pair and the data of a diagnostic, once per call."""

from __future__ import annotations

from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair import admission
from ppl_vae.inference.pair.labels import needs_labels
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.pair.protocols import Program


def admitted(pair: PairLike, x: ArrayLike | Tensor, least: int = 1) -> tuple[Program, Program, Tensor]:
    """Return the two programs of a pair, and its data, of which there must be enough, on the pair's device.

    Raises:
        ModelError: it is no pair, or one that needs labels; or the data have another event shape.
        DataError: there are fewer than ``least`` data, or the likelihood has no density for some value.
    """
    require_unlabelled(as_pair(pair).model)
    pair, (data, *_) = admission.admitted(pair, x, least=least)
    return pair.model, pair.guide, data


def require_unlabelled(model: Program) -> None:
    """Refuse a model that needs labels beside x.

    Raises:
        ModelError: it does.
    """
    if needs_labels(model):
        raise ModelError(
            "this model needs labels beside x, which diagnostics do not take: give a pair of programs of x alone, "
            "with the label of one class set inside both"
        )
