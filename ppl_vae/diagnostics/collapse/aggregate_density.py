r"""The aggregate posterior q(z) = (1/N) sum_n q(z|x_n) over all N data given, at the guide's own draws.

A batch would not do: I_q(n; z) is at most the logarithm of how many data the mixture is over.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk
from ppl_vae.inference.pair.joint import log_guide
from ppl_vae.inference.pair.protocols import Program

# Numbers in one block of log q(z_k | x_m): draws times data times latent dimensions.
BLOCK_NUMBERS = 1 << 21
# Data in one block: they are encoded anew for every block of draws, and fewer data leave room for more draws.
MOST_ENCODED = 256
# Pairs of a draw and a datum that the aggregate posterior is worth.
MOST_PAIRS = 20_000_000


def log_aggregate(given: Conditioned, values: dict[str, Tensor]) -> Tensor | None:
    """Compute log q(z) at the guide's own draws [S, N], q(z) being the mixture over all data; None if unknown."""
    x, num_data = given.x, len(given)
    used = int(np.clip(MOST_PAIRS // num_data**2, 1, len(next(iter(values.values())))))
    flat = {name: value[:used].flatten(0, 1) for name, value in values.items()}
    numbers = sum(value[0].numel() for value in flat.values())
    parts: list[Tensor] = []
    for batch in given.split(min(data_per_chunk(x, 1), MOST_ENCODED, max(1, BLOCK_NUMBERS // numbers))):
        rows = max(1, BLOCK_NUMBERS // (numbers * len(batch)))
        try:
            parts.append(torch.cat([_row_totals(batch.guide, batch.x, chunk) for chunk in _split(flat, rows)]))
        except NotImplementedError:
            return None
    return (torch.stack(parts).logsumexp(0) - math.log(num_data)).unflatten(0, (used, num_data))


def _split(values: dict[str, Tensor], rows: int) -> list[dict[str, Tensor]]:
    chunks = [value.split(rows) for value in values.values()]
    return [dict(zip(values, parts, strict=True)) for parts in zip(*chunks, strict=True)]


def _row_totals(guide: Program, x: Tensor, draws: dict[str, Tensor]) -> Tensor:
    """Compute log sum_m q(z_k | x_m) over the data of one batch: [K]."""
    spread = {name: z.unsqueeze(1).expand(len(z), len(x), *z.shape[1:]) for name, z in draws.items()}
    return log_guide(guide, x, spread).double().logsumexp(1)
