"""What a diagnostic is given, judged once at the door."""

from __future__ import annotations

from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair import admission
from ppl_vae.inference.pair.labels import needs_labels
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.pair.protocols import Program


def admitted(pair: PairLike, x: ArrayLike | Tensor, least: int = 1) -> tuple[Program, Program, Tensor]:
    """The two programs of a pair, and at least so many data where the pair's parameters are.

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
            "this model needs labels beside x, which diagnostics do not take: give them a pair of programs of x "
            "alone, such as the model and the guide at the label of one class"
        )
