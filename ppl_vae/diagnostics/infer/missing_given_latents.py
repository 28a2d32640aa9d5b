r"""The requirement that missing entries can be drawn from p(x|z) alone: x is observed, entry by entry.

Draws of the likelihood complete a row where its site observes x itself, and where missing entries m are independent
of the seen ones o given z. So it is where, for any two completions m, m' and any two seen parts o, o',

    log p(o, m | z) - log p(o, m' | z) = log p(o', m | z) - log p(o', m' | z),

which takes complete data alone, whatever a likelihood makes of NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.joint import log_joint
from ppl_vae.inference.pair.protocols import Program

# Of the largest of four log densities, whose differences are compared: sums in single precision.
ROUNDING = 1e-4


def require_independent(model: Program, x: Tensor, values: Mapping[str, Tensor], drawn: Tensor) -> None:
    """Refuse a model whose draws of p(x|z) do not complete x.

    Args:
        model: a program of x alone.
        x: [N, *event_shape], NaN where an entry is missing.
        values: of every latent site [K, N, *event].
        drawn: x ~ p(x|z) at them [K, N, *event_shape], K at least 3.

    Raises:
        ModelError: the model observes something that is made of x, or entries depend on each other given z.
    """
    # The three completions of a row belong to one z; draws of others are as good as any values.
    here = {name: value[:1] for name, value in values.items()}
    missing = x.isnan()
    one, two, seen = drawn[0], drawn[1], torch.where(missing, 0.0, drawn[2])
    _require_read_as_given(model, torch.where(missing, one, x), here)

    def density(of_seen: Tensor, of_missing: Tensor) -> Tensor:
        return log_joint(model, torch.where(missing, of_missing, of_seen), here).log_likelihood[0].double()

    four = torch.stack([density(o, m) for o in (x, seen) for m in (one, two)])
    off = (four[0] - four[1] - four[2] + four[3]).abs()
    if (off > ROUNDING * (1 + four.abs().amax(0))).any():
        raise ModelError(
            "imputation draws missing entries given z alone, and in this likelihood they depend on the seen "
            "entries given z too, as with a full covariance matrix or where the model computes with x"
        )


def _require_read_as_given(model: Program, x: Tensor, values: Mapping[str, Tensor]) -> None:
    """Refuse a model that observes something else at complete data x than x."""
    for name, site in log_joint(model, x, values).observations.items():
        if not site.is_data:
            continue
        read = torch.as_tensor(site.value)
        alike = read.shape[-x.dim() :] == x.shape
        # A program may read x in another precision.
        if not alike or not torch.allclose(read.to(x.dtype), x, rtol=ROUNDING, atol=0.0):
            raise ModelError(
                f"site {name!r} observes something that is made of x, such as (x - mean) / sd: its draws are no "
                "values of x; transform the data before"
            )
