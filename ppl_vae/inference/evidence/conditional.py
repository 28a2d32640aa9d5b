r"""log p of some coordinates of a datum given the others, by importance sampling of both.

    log p(x_hidden | x_rest) = log p(x) - log p(x_rest)

Both are estimated by weights of the guide, given x and given x with those coordinates missing, with independent
draws. The first is too small in expectation and so is the second: the difference is no bound.
"""

from __future__ import annotations

import torch

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.evidence.evidence import Evidence, log_evidence
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.pair.protocols import traits
from ppl_vae.randomness import derived_seed

# The name of this file's stream under a seed.
STREAM = 83


def conditional_evidence(
    pair: PairLike, x: Array, hidden: Array, num_samples: int = 1000, *, progress: bool | None = None, seed: int = 0
) -> Evidence:
    """Estimate log p(x_hidden | x_rest) of every datum, in nats.

    Args:
        pair: whose model knows missing coordinates (``allows_missing``).
        x: [N, *event_shape].
        hidden: which coordinates are asked for, booleans [*event_shape] or [N, *event_shape].
        num_samples: importance draws per datum, of each of the two.
        progress: as of ``log_evidence``.
        seed: of the draws.

    Returns:
        The difference with the error of both, as "importance"; k-hat is the larger of the two. No interval.

    Raises:
        ModelError: the model knows no missing coordinates.
        DataError: the mask has another shape, or hides nothing.
    """
    if not traits(as_pair(pair).model).allows_missing:
        raise ModelError("conditional evidence hides coordinates; the model does not say allows_missing = True")
    data = to_tensor(x)
    mask = to_tensor(hidden).to(data.device)
    if mask.dtype != torch.bool or mask.shape not in (data.shape, data.shape[1:]) or not mask.any():
        raise DataError(
            f"hidden: expected booleans {list(data.shape[1:])} or {list(data.shape)} of which some are True, "
            f"found {mask.dtype} {list(mask.shape)}"
        )
    whole = log_evidence(pair, data, num_samples=num_samples, progress=progress, seed=derived_seed(seed, STREAM, 0))
    seen = torch.where(mask, torch.nan, data)
    rest = log_evidence(pair, seen, num_samples=num_samples, progress=progress, seed=derived_seed(seed, STREAM, 1))
    khat = None if whole.khat is None or rest.khat is None else torch.fmax(whole.khat, rest.khat)
    return Evidence(
        whole.per_datum - rest.per_datum,
        (whole.per_datum_stderr.square() + rest.per_datum_stderr.square()).sqrt(),
        "importance",
        num_samples,
        khat,
        quantity="log p(x_hidden | x_rest)",
    )
