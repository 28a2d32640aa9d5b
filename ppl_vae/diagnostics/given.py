"""Judge the pair and the data of a diagnostic, once per call."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.inference.pair import admission
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.labels import needs_labels
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair


def admitted(pair: PairLike, x: Any, least: int = 1, y: ArrayLike | Tensor | None = None) -> Conditioned:
    """Return the two programs of a pair and its data, of which there must be enough, on the pair's device.

    Args:
        pair: whatever ``as_pair`` takes.
        x: data [N, *event_shape]; with covariates a tuple (x, c1, ..., cm) or a dict of named arrays.
        least: the fewest data.
        y: labels [N]; a pair that needs no y does not look at them.

    Raises:
        ModelError: it is no pair, or one that needs more than it is given; or the data have another event shape.
        DataError: there are fewer than ``least`` data, or the likelihood has no density for some value.
    """
    pair = as_pair(pair)
    found, batch = admission.admitted(pair, x, y if y is not None and needs_y(pair) else None, least)
    return Conditioned((found.model, found.guide), batch)


def needs_y(pair: Pair) -> bool:
    """Tell whether the programs cannot be run without a covariate named y."""
    arguments = Arguments.of(pair)
    return needs_labels(pair.model) or any("y" in side.needed for side in (arguments.model, arguments.guide))
