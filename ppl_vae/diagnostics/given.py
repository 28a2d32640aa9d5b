"""Judge the pair and the data of a diagnostic, once per call."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.evidence.importance import prepare
from ppl_vae.inference.pair.labels import needs_labels
from ppl_vae.inference.pair.trace import Program, split_pair


def admitted(pair: Any, x: Any, least: int = 1) -> tuple[Program, Program, Tensor]:
    """Return the two programs of a pair, and its data, of which there must be enough, on the pair's device.

    Raises:
        ModelError: it is no pair, or one that needs labels; or the data have another event shape.
        DataError: there are fewer than ``least`` data, or the likelihood has no density for some value.
    """
    require_unlabelled(split_pair(pair)[0])
    model, guide, data = prepare(pair, x)
    if len(data) < least:
        raise DataError(f"data: expected at least {least}, found shape {list(data.shape)}")
    return model, guide, data


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
