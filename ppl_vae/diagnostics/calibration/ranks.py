r"""The rank of a simulated value among the guide's draws, weighted or not, with ties broken at random.

With V ~ U(0, 1), B draws below the simulated value and T draws equal to it, of L:

    rank = floor(B + V (T + 1)),     pit = (B + V (T + 1)) / (L + 1).

If the 1 + L values are exchangeable, the rank is uniform on 0, ..., L and the pit (probability integral transform)
on [0, 1], for any L and any ties. With weights of the draws, normalised to sum to one, B and T are L times the sums
of the weights of the draws below and equal, and the rank is B + V T, no longer whole. Equal weights give the same
pit.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Values within so many units of rounding are equal: where the decoder ignores z, log p(x|z) differs by rounding.
TIE_ROUNDING = 16


def rank_of_first(values: Tensor, generator: torch.Generator, share: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute rank and PIT [S] of row 0 of [1 + L, S] among the other rows.

    Args:
        values: [1 + L, S]; -inf is the least value, NaN has no rank and must not be there.
        generator: of V.
        share: weights of the draws [L, S] that sum to one over the draws; None is the plain rank.
    """
    below, tied = _below_and_tied(values)
    num_draws = len(below)
    v = torch.rand(values.shape[1], dtype=torch.float64, generator=generator)
    if share is None:
        position = below.sum(0) + v * (tied.sum(0) + 1)
        return position.floor(), position / (num_draws + 1)
    # Rounding may carry the sum of all weights beyond one.
    counts = [num_draws * (share * chosen).sum(0).clamp(max=1.0) for chosen in (below, tied)]
    rank = (counts[0] + v * counts[1]).clamp(max=num_draws)
    return rank, (rank + v) / (num_draws + 1)


def _below_and_tied(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mark the draws below the simulated value, and those that equal it up to rounding: [L, S] each.

    Rounding to a grid that all 1 + L values share leaves them exchangeable.
    """
    values = values if values.is_floating_point() else values.double()
    largest = torch.where(values.isfinite(), values.abs(), 0.0).amax(0)
    grid = TIE_ROUNDING * torch.finfo(values.dtype).eps * largest
    levels = (values / torch.where(grid > 0, grid, 1.0)).round()
    return levels[1:] < levels[0], levels[1:] == levels[0]
